package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// token is a JWT, taken apart. Its signature is not verified: that is for Reactor, which has the key.
type token struct {
	header, claims string // JSON, as it stands in the JWT
	id             string // jti
	issued         time.Time
	expires        time.Time
}

// decodeJWT takes a JWT apart. Its errors do not quote it.
func decodeJWT(text string) (token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return token{}, fmt.Errorf("a JWT has three parts between dots, and this has %d", len(parts))
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return token{}, errors.New("the header of the JWT is not base64url")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token{}, errors.New("the claims of the JWT are not base64url")
	}
	var claims struct {
		ID      string `json:"jti"`
		Issued  int64  `json:"iat"`
		Expires int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return token{}, errors.New("the claims of the JWT are not the JSON that is expected")
	}
	if claims.Expires == 0 {
		return token{}, errors.New("the JWT has no exp")
	}
	return token{
		header: string(header), claims: string(payload), id: claims.ID,
		issued: time.Unix(claims.Issued, 0).UTC(), expires: time.Unix(claims.Expires, 0).UTC(),
	}, nil
}

// describe shows the claims, one in a line.
func (t token) describe() string {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(t.claims), &claims); err != nil {
		return err.Error()
	}
	lines := []string{"  header  " + t.header}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		line := "  " + name + "  " + string(claims[name])
		switch name {
		case "iat":
			line += "  (" + clockTime(t.issued) + ")"
		case "exp":
			line += "  (" + clockTime(t.expires) + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// short is enough of an identifier to tell it from a few others.
func short(id string) string { return id[:min(8, len(id))] }

// clockTime is an instant within the day, as kubectl shows it.
func clockTime(instant time.Time) string { return instant.UTC().Format("15:04:05Z") }

// seconds is a length of time for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
