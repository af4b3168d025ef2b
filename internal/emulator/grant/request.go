package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Request is the parsed body of POST /tokens.
type Request struct {
	Lifetime time.Duration // 0 if the body has none
	Details  []AuthorizationDetail
}

// Models returns all models of the requested scope.
func (r Request) Models() []string {
	var names []string
	for _, detail := range r.Details {
		names = append(names, detail.Resources.Models.Match...)
	}
	return names
}

// ParseRequest parses and validates a body. With an error, it still returns what it could parse, for the ledger and for faults. The error is the
// message of the response with status 400.
func ParseRequest(body []byte) (Request, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || isNull(body) {
		return Request{}, nil
	}
	var raw struct {
		ExpiresAfter         json.RawMessage       `json:"expires_after"`
		AuthorizationDetails []AuthorizationDetail `json:"authorization_details"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return Request{}, errors.New("the body is not a JSON object of the known form")
	}
	request := Request{Details: raw.AuthorizationDetails}
	var valid bool
	if request.Lifetime, valid = parseExpiresAfter(raw.ExpiresAfter); !valid {
		return request, errors.New("expires_after must be a positive integer of seconds")
	}
	if raw.AuthorizationDetails != nil && len(raw.AuthorizationDetails) == 0 {
		return request, errors.New("authorization_details must not be empty")
	}
	return request, validate(request.Details)
}

func isNull(raw []byte) bool { return bytes.Equal(raw, []byte("null")) }

// maxRequestedSeconds keeps a lifetime inside time.Duration; every ceiling is below it.
const maxRequestedSeconds = int64(100 * 365 * 24 * time.Hour / time.Second)

// parseExpiresAfter parses a JSON integer above 0, however large. A missing value and null are 0.
func parseExpiresAfter(raw json.RawMessage) (time.Duration, bool) {
	if len(raw) == 0 || isNull(raw) {
		return 0, true
	}
	digits := string(raw)
	if strings.Trim(digits, "0123456789") != "" { // a sign, a fraction, an exponent, or not a number
		return 0, false
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil { // too large for int64
		seconds = maxRequestedSeconds
	}
	return time.Duration(min(seconds, maxRequestedSeconds)) * time.Second, seconds > 0
}
