package picture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

const (
	key   = "rk_test_of_media"
	model = "reactor/helios"
)

// visitor is a client of the session API, as a page is one.
type visitor struct {
	t     *testing.T
	api   string
	token string

	hungUp atomic.Bool // the channel of commands was closed
}

func newVisitor(t *testing.T) (*visitor, *emulator.Emulator) {
	t.Helper()
	player, err := NewPlayer()
	if err != nil {
		t.Fatal(err)
	}
	reactor := emulator.New(emulator.Options{Keys: []string{key}, Media: player})
	reactor.SetSessionTimes(0, time.Minute, 0)
	server := httptest.NewServer(reactor)
	t.Cleanup(server.Close)
	v := &visitor{t: t, api: server.URL}
	var minted struct{ JWT string }
	v.call("POST", "/tokens", nil, &minted)
	v.token = minted.JWT
	return v, reactor
}

// call calls the API, and returns the status.
func (v *visitor) call(method, path string, body, into any) int {
	v.t.Helper()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			v.t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(v.t.Context(), method, v.api+path, &sent)
	if err != nil {
		v.t.Fatal(err)
	}
	if v.token == "" {
		request.Header.Set("Reactor-API-Key", key)
	} else {
		request.Header.Set("Authorization", "Bearer "+v.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if into != nil && json.Unmarshal(read, into) != nil {
		v.t.Fatalf("%s %s: %s %s", method, path, response.Status, read)
	}
	return response.StatusCode
}

// start starts a session, and returns its id.
func (v *visitor) start() string {
	v.t.Helper()
	var session struct {
		ID string `json:"session_id"`
	}
	v.call("POST", "/sessions", map[string]any{"model": map[string]string{"name": model}}, &session)
	return session.ID
}

// watch connects to a session as a page does, and returns the connection and the video's packets.
func (v *visitor) watch(session string) (*webrtc.PeerConnection, *webrtc.TrackRemote) {
	v.t.Helper()
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = connection.Close() })
	tracks := make(chan *webrtc.TrackRemote, 1)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { tracks <- track })
	channel, err := connection.CreateDataChannel("data", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	opened := make(chan struct{})
	channel.OnOpen(func() { close(opened) })
	channel.OnClose(func() { v.hungUp.Store(true) })
	receives := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	if _, err := connection.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, receives); err != nil {
		v.t.Fatal(err)
	}
	offer, err := connection.CreateOffer(nil)
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := errors.Join(err, connection.SetLocalDescription(offer)); err != nil {
		v.t.Fatal(err)
	}
	<-gathered
	path := "/sessions/" + session + "/transport/webrtc/sdp_params"
	if status := v.call("POST", path, map[string]string{"sdp_offer": connection.LocalDescription().SDP}, nil); status != http.StatusAccepted {
		v.t.Fatalf("the offer is answered with %d", status)
	}
	var answer struct {
		SDP string `json:"sdp_answer"`
	}
	for answer.SDP == "" && v.t.Context().Err() == nil {
		v.call("GET", path, nil, &answer)
	}
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}); err != nil {
		v.t.Fatal(err)
	}
	<-opened
	return connection, <-tracks
}

func TestAClientSeesThePictureMove(t *testing.T) {
	v, _ := newVisitor(t)
	_, track := v.watch(v.start())
	if got := track.Codec().MimeType; !strings.EqualFold(got, webrtc.MimeTypeVP8) {
		t.Errorf("the video is %s", got)
	}
	stamps := map[uint32]bool{}
	var size int
	for len(stamps) < 20 { // more than a second of it, key frames and others
		packet, _, err := track.ReadRTP()
		if err != nil {
			t.Fatal(err)
		}
		stamps[packet.Timestamp] = true
		size += len(packet.Payload)
	}
	if v.hungUp.Load() {
		t.Error("the channel of commands was closed while the video plays")
	}
	if size < 20*100 {
		t.Errorf("20 frames have %d bytes: that is no picture", size)
	}
}

func TestTheVideoEndsWithItsSession(t *testing.T) {
	v, _ := newVisitor(t)
	session := v.start()
	_, track := v.watch(session)
	if status := v.call("DELETE", "/sessions/"+session, nil, nil); status != http.StatusOK {
		t.Fatalf("DELETE is answered with %d", status)
	}
	for {
		if _, _, err := track.ReadRTP(); err != nil {
			return // it has ended; else the test's time does
		}
	}
}

func TestAClientThatGoesLeavesASessionThatMayBeTakenUp(t *testing.T) {
	v, reactor := newVisitor(t)
	session := v.start()
	connection, _ := v.watch(session)
	if err := connection.Close(); err != nil {
		t.Fatal(err)
	}
	for reactor.Ledger().Sessions[0].State != emulator.StateInactive {
		if t.Context().Err() != nil {
			t.Fatal("nobody noticed")
		}
	}
	v.watch(session)
	if got := reactor.Ledger().Sessions[0].State; got != emulator.StateActive {
		t.Errorf("the session that was taken up is %s", got)
	}
}

func TestWhatIsNoOfferIsRefused(t *testing.T) {
	player, err := NewPlayer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := player.Connect(t.Context(), "v=nonsense", func() {}); err == nil || !strings.Contains(err.Error(), "the client's offer") {
		t.Errorf("got %v", err)
	}
}

func TestARecordingThatIsNoneIsRefused(t *testing.T) {
	for _, recording := range [][]byte{nil, []byte("nonsense"), recorded[:32], recorded[:100]} {
		if frames, _, err := read(recording); err == nil {
			t.Errorf("%d bytes give %d frames", len(recording), len(frames))
		}
	}
}
