package reactor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// minLeft is what a token must have left when it arrives; a shorter one would be renewed in a hot loop.
	minLeft = 10 * time.Second

	// MaxLifetime of a token bounds what is believed. Reactor grants 6 hours; a longer time than this is a broken clock.
	MaxLifetime = 366 * 24 * time.Hour

	// iatTolerance is how far the token's issue time may lie from the answer's Date before Date is taken instead.
	iatTolerance = 60 * time.Second

	// lastSecond is the end of the year 9999 in Unix seconds, after which no time can be written in RFC 3339. It also
	// unmasks milliseconds.
	lastSecond = 253402300799

	// halfSecond makes up for clocks that are told in whole seconds, the rest cut off.
	halfSecond = 500 * time.Millisecond
)

// Token is a minted token, and what is known about the two clocks.
type Token struct {
	// JWT is the token. It is opaque, and of visible ASCII characters.
	JWT Secret

	// ExpiresAt is the server's expires_at: the only lifetime that counts, on the server's clock.
	ExpiresAt time.Time

	// IssuedAt is when the token was made, on the server's clock: the token's own claim iat, else the answer's Date,
	// else the local clock.
	IssuedAt time.Time

	// Skew is the server's clock minus the local one at receipt, exact to about half a second and half the call's
	// duration; 0 when that explains all of it, and when the server told no time.
	Skew time.Duration

	// ReceivedAt is when the answer came, on the local clock; it keeps Go's monotonic reading.
	ReceivedAt time.Time
}

// Lifetime is how long the token was made to live: ExpiresAt minus IssuedAt.
func (t Token) Lifetime() time.Duration { return t.ExpiresAt.Sub(t.IssuedAt) }

// Format writes the token's times and not the token, with all verbs: see Secret.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token %s, issued %s, expires %s", redacted, t.IssuedAt.Format(time.RFC3339), t.ExpiresAt.Format(time.RFC3339))
}

// exchange is an answer and when it came.
type exchange struct {
	sent     time.Time // local clock
	received time.Time // local clock, when the answer's header was there
	response *http.Response
}

// date is the server's clock by the header Date, which has whole seconds.
func (e exchange) date() (time.Time, bool) {
	at, err := http.ParseTime(e.response.Header.Get("Date"))
	return at.UTC(), err == nil
}

// serverDate is the header Date, or the local clock where that is missing.
func (e exchange) serverDate() time.Time {
	if at, ok := e.date(); ok {
		return at
	}
	return e.received.UTC()
}

// skew is how far the server's clock is ahead of ours, if at shows it in whole seconds. The server is taken to have
// looked at it in the middle of the call. When it may have been right at some moment of the call, it is taken to be right:
// one that was frozen, or behind a slow proxy, answers at the end of a call of many seconds, and its clock is still good.
func (e exchange) skew(at time.Time) time.Duration {
	half := e.received.Sub(e.sent) / 2
	skew := at.Add(halfSecond).Sub(e.sent.Add(half))
	if skew.Abs() <= half+halfSecond {
		return 0
	}
	return skew
}

// tokenFrom reads the body of a success. Its errors never quote the body.
func tokenFrom(body []byte, observed exchange) (Token, error) {
	jwt, expiresAt, err := parseAnswer(body, observed.response.Header.Get("Content-Type"))
	if err != nil {
		return Token{}, err
	}
	token := Token{JWT: jwt, ExpiresAt: expiresAt, ReceivedAt: observed.received}
	token.IssuedAt, token.Skew = issued(token, observed)
	left := token.ExpiresAt.Sub(token.ReceivedAt.Add(token.Skew))
	switch {
	case min(left, token.Lifetime()) <= 0:
		return Token{}, errors.New("the token had expired on arrival")
	case min(left, token.Lifetime()) < minLeft:
		return Token{}, fmt.Errorf("the token has less than %s left", minLeft)
	case token.Lifetime() > MaxLifetime:
		return Token{}, errors.New("the token's expiry is absurdly far away")
	}
	return token, nil
}

// issued returns when the token was issued on the server's clock, and that clock's skew.
func issued(token Token, observed exchange) (time.Time, time.Duration) {
	claim, hasClaim := issuedAtClaim(token)
	date, hasDate := observed.date()
	switch {
	case hasDate && hasClaim && date.Sub(claim).Abs() <= iatTolerance:
		return claim, observed.skew(date)
	case hasDate:
		return date, observed.skew(date)
	case hasClaim:
		return claim, observed.skew(claim)
	}
	return observed.received.Round(0).UTC(), 0
}

// issuedAtClaim reads the claim iat of a JWT, without checking its signature. An opaque token has none, and one that does
// not fit the expiry is not believed.
func issuedAtClaim(token Token) (time.Time, bool) {
	parts := strings.Split(string(token.JWT), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		IssuedAt float64 `json:"iat"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.IssuedAt <= 0 || claims.IssuedAt > lastSecond {
		return time.Time{}, false
	}
	at := time.Unix(int64(claims.IssuedAt), 0).UTC()
	lifetime := token.ExpiresAt.Sub(at)
	return at, lifetime > 0 && lifetime <= MaxLifetime
}

// parseAnswer reads {"jwt": …, "expires_at": …}; other members are ignored.
func parseAnswer(body []byte, contentType string) (Secret, time.Time, error) {
	var answer struct {
		JWT       string          `json:"jwt"`
		ExpiresAt json.RawMessage `json:"expires_at"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", time.Time{}, fmt.Errorf("the answer is not the JSON object that was expected (%s)", shapeOf(body, contentType))
	}
	if answer.JWT == "" {
		return "", time.Time{}, errors.New("the answer has no jwt")
	}
	if strings.ContainsFunc(answer.JWT, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", time.Time{}, errors.New("the answer's jwt holds characters that no header can carry")
	}
	expiresAt, err := parseUnixSeconds(answer.ExpiresAt)
	return Secret(answer.JWT), expiresAt, err
}

// shapeOf describes a body without quoting it.
func shapeOf(body []byte, contentType string) string {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || len(mediaType) > 64 {
		mediaType = "of no known type"
	}
	return fmt.Sprintf("%d bytes, %s", len(body), mediaType)
}

// parseUnixSeconds reads a JSON number that is a whole number of seconds since 1970; 1.7954e9 is such a number.
func parseUnixSeconds(raw json.RawMessage) (time.Time, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return time.Time{}, errors.New("the answer has no expires_at")
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds != math.Trunc(seconds) {
		return time.Time{}, errors.New("the answer's expires_at is not a whole number of seconds")
	}
	if seconds <= 0 || seconds > lastSecond {
		return time.Time{}, errors.New("the answer's expires_at is not a time in Unix seconds")
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// Left is how long the token still lives by the server's clock. It trusts neither of our clocks alone: the wall clock may jump, and the
// monotonic one stands still while a machine is suspended. It is negative once the token has expired.
func (t Token) Left(now time.Time) time.Duration {
	byWall := t.ExpiresAt.Sub(now.Round(0).Add(t.Skew))
	byMonotonic := t.Lifetime() - now.Sub(t.ReceivedAt)
	return min(byWall, byMonotonic)
}
