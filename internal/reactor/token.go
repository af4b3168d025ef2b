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
	// minLeft is the minimum remaining lifetime of a token when it arrives. A token with less would be renewed in a hot loop.
	minLeft = 10 * time.Second

	// MaxLifetime is the maximum lifetime of a token that is accepted. Reactor grants at most 6 hours. A lifetime above the maximum means
	// that a clock is wrong.
	MaxLifetime = 366 * 24 * time.Hour

	// iatTolerance is the maximum difference between the token's claim iat and the answer's header Date. If it is larger, Date is used.
	iatTolerance = 60 * time.Second

	// lastSecond is the end of the year 9999 in Unix seconds, the last time that RFC 3339 can express. A current time in milliseconds is
	// later, and so is rejected.
	lastSecond = 253402300799

	// halfSecond is the average error of a time that was truncated to whole seconds.
	halfSecond = 500 * time.Millisecond
)

// Token is a minted token, with its times on the clock of the server and on the local clock.
type Token struct {
	// JWT is the token. It is opaque, and consists of visible ASCII characters.
	JWT Secret

	// ExpiresAt is expires_at of the answer, on the server's clock. Only this time decides whether the token is valid.
	ExpiresAt time.Time

	// IssuedAt is when the token was issued, on the server's clock: the token's claim iat, or else the answer's header Date, or else the
	// local time of receipt.
	IssuedAt time.Time

	// Skew is the server's clock minus the local clock at receipt. Its error is up to half a second plus half the duration of the call. It is
	// 0 if the difference is within that error, or if the answer contains no time.
	Skew time.Duration

	// ReceivedAt is when the answer arrived, on the local clock, with Go's monotonic reading.
	ReceivedAt time.Time
}

// Lifetime is the granted lifetime: ExpiresAt minus IssuedAt.
func (t Token) Lifetime() time.Duration { return t.ExpiresAt.Sub(t.IssuedAt) }

// Format writes the times of the token but not the token, for all verbs (see Secret).
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token %s, issued %s, expires %s", redacted, t.IssuedAt.Format(time.RFC3339), t.ExpiresAt.Format(time.RFC3339))
}

// exchange is an answer with the times of its call.
type exchange struct {
	sent     time.Time // local clock
	received time.Time // local clock, when the header of the answer had arrived
	response *http.Response
}

// date is the time of the server's clock from the header Date, which has whole seconds.
func (e exchange) date() (time.Time, bool) {
	at, err := http.ParseTime(e.response.Header.Get("Date"))
	return at.UTC(), err == nil
}

// serverDate is the header Date, or the local time of receipt if the header is missing.
func (e exchange) serverDate() time.Time {
	if at, ok := e.date(); ok {
		return at
	}
	return e.received.UTC()
}

// skew is how far the server's clock is ahead of the local one. at is the server's time, in whole seconds.
//
// The server is assumed to read its clock in the middle of the call. But a server that was suspended, or is behind a slow proxy, reads it at
// the end of a call that takes many seconds. Therefore the skew is 0 if at can be the local time of any moment of the call.
func (e exchange) skew(at time.Time) time.Duration {
	half := e.received.Sub(e.sent) / 2
	skew := at.Add(halfSecond).Sub(e.sent.Add(half))
	if skew.Abs() <= half+halfSecond {
		return 0
	}
	return skew
}

// tokenFrom parses the body of a success. Its errors do not quote the body.
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
		return Token{}, errors.New("the token was already expired on arrival")
	case min(left, token.Lifetime()) < minLeft:
		return Token{}, fmt.Errorf("the token has less than %s left", minLeft)
	case token.Lifetime() > MaxLifetime:
		return Token{}, errors.New("the token's expiry is too far in the future")
	}
	return token, nil
}

// issued returns when the token was issued, on the server's clock, and the skew of that clock.
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

// issuedAtClaim returns the claim iat of a JWT, without checking its signature. It returns false for an opaque token, and for a claim that
// contradicts the expiry.
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

// parseAnswer parses {"jwt": …, "expires_at": …}. It ignores other members.
func parseAnswer(body []byte, contentType string) (Secret, time.Time, error) {
	var answer struct {
		JWT       string          `json:"jwt"`
		ExpiresAt json.RawMessage `json:"expires_at"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", time.Time{}, fmt.Errorf("the answer is not the expected JSON object (%s)", shapeOf(body, contentType))
	}
	if answer.JWT == "" {
		return "", time.Time{}, errors.New("the answer has no jwt")
	}
	if strings.ContainsFunc(answer.JWT, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", time.Time{}, errors.New("the answer's jwt contains characters that are not allowed in a header")
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

// parseUnixSeconds parses a JSON number that is a whole number of seconds since 1970. It accepts forms such as 1.7954e9.
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

// Left is the remaining lifetime of the token on the server's clock; negative if it has expired. It is the smaller of two results, because
// neither local clock is reliable alone: the wall clock may jump, and the monotonic clock stops while a machine is suspended.
func (t Token) Left(now time.Time) time.Duration {
	byWall := t.ExpiresAt.Sub(now.Round(0).Add(t.Skew))
	byMonotonic := t.Lifetime() - now.Sub(t.ReceivedAt)
	return min(byWall, byMonotonic)
}
