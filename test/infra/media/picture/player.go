// Package picture is a model's far end of a WebRTC connection, as the session API of Reactor negotiates it: it sends every client the same
// moving test picture, forever.
package picture

import (
	"bytes"
	"context"
	_ "embed" // the picture
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
)

// The picture, in VP8, 4 s long. It was made with Debian's ffmpeg, and has a key frame each second, so that the picture recovers from a loss:
//
//	ffmpeg -f lavfi -i testsrc=size=480x270:rate=15:duration=4 -c:v libvpx -b:v 200k -g 15 -keyint_min 15 -auto-alt-ref 0 -threads 1 -bitexact picture.ivf
//
//go:embed picture.ivf
var recorded []byte

// Player shows the picture to clients. It implements emulator.Media.
type Player struct {
	api      *webrtc.API
	frames   [][]byte
	interval time.Duration // from one frame to the next
}

// NewPlayer reads the picture.
func NewPlayer() (*Player, error) {
	frames, interval, err := read(recorded)
	if err != nil {
		return nil, fmt.Errorf("read the test picture: %w", err)
	}
	codecs := &webrtc.MediaEngine{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(codecs, interceptors); err != nil {
		return nil, err
	}
	// A browser hides its addresses behind names of mDNS. There is no need to look them up: the browser finds this end by its addresses.
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	return &Player{
		api:      webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings)),
		frames:   frames,
		interval: interval,
	}, nil
}

// read splits a recording into its frames.
func read(ivf []byte) (frames [][]byte, interval time.Duration, err error) {
	reader, header, err := ivfreader.NewWith(bytes.NewReader(ivf))
	if err != nil {
		return nil, 0, err
	}
	for {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		frames = append(frames, frame)
	}
	if len(frames) == 0 || header.TimebaseDenominator == 0 {
		return nil, 0, errors.New("it has no frames")
	}
	return frames, time.Second * time.Duration(header.TimebaseNumerator) / time.Duration(header.TimebaseDenominator), nil
}

// Connect answers a client's offer, and sends it the picture on each track on which it receives video, until ctx ends.
func (p *Player) Connect(ctx context.Context, offer string, lost func()) (answer string, err error) {
	connection, err := p.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, connection.Close())
		}
	}()
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("the client's offer: %w", err)
	}
	track, err := p.add(ctx, connection)
	if err != nil {
		return "", err
	}
	// The model takes every command and does nothing about it. A channel without a use is closed.
	connection.OnDataChannel(func(*webrtc.DataChannel) {})
	connected := make(chan struct{}, 1)
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			select {
			case connected <- struct{}{}:
			default: // it connects again after a break, and is shown the picture already
			}
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			lost()
		default:
		}
	})
	if answer, err = describe(ctx, connection); err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = connection.Close() }) // nothing can be done about a failure
	go p.play(ctx, connected, track)
	return answer, nil
}

// add adds one track, which is sent wherever the client receives video.
func (p *Player) add(ctx context.Context, connection *webrtc.PeerConnection) (*webrtc.TrackLocalStaticSample, error) {
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "picture", "model")
	if err != nil {
		return nil, err
	}
	for _, transceiver := range connection.GetTransceivers() {
		if transceiver.Kind() != webrtc.RTPCodecTypeVideo || transceiver.Direction() == webrtc.RTPTransceiverDirectionRecvonly {
			continue
		}
		sender, err := connection.AddTrack(track)
		if err != nil {
			return nil, err
		}
		go drain(ctx, sender)
	}
	return track, nil
}

// drain reads what the client reports, which is how requests for lost packets reach those who serve them.
func drain(ctx context.Context, sender *webrtc.RTPSender) {
	for ctx.Err() == nil {
		if _, _, err := sender.ReadRTCP(); err != nil {
			return // the connection is closed
		}
	}
}

// describe makes the answer, with all candidates.
func describe(ctx context.Context, connection *webrtc.PeerConnection) (string, error) {
	gathered := webrtc.GatheringCompletePromise(connection)
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	if err := connection.SetLocalDescription(answer); err != nil {
		return "", err
	}
	select {
	case <-gathered:
		return connection.LocalDescription().SDP, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// play shows the picture again and again, from when the client is connected.
func (p *Player) play(ctx context.Context, connected <-chan struct{}, track *webrtc.TrackLocalStaticSample) {
	select {
	case <-ctx.Done():
		return
	case <-connected:
	}
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for i := 0; ; i = (i + 1) % len(p.frames) {
		if err := track.WriteSample(media.Sample{Data: p.frames[i], Duration: p.interval}); err != nil {
			return // the connection is closed
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
