package reactor

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// jwtWith returns an unsigned JWT with these claims.
func jwtWith(claims string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

// answered is a call that took 2 seconds, its middle at noon of the local clock.
func answered(date time.Time) exchange {
	header := http.Header{"Content-Type": {"application/json"}}
	if !date.IsZero() {
		header.Set("Date", date.Format(http.TimeFormat))
	}
	return exchange{
		sent:     noon.Add(-time.Second),
		received: noon.Add(time.Second),
		response: &http.Response{StatusCode: http.StatusOK, Header: header},
	}
}

func TestTheIssueTimeAndTheSkewComeFromTheServer(t *testing.T) {
	const inAnHour = `1795438800` // 13:00:00
	iat := func(seconds string) string { return jwtWith(`{"iat":` + seconds + `}`) }
	tests := []struct {
		name       string
		jwt        string
		date       time.Time
		wantIssued time.Time
		wantSkew   time.Duration
	}{
		{"the claim iat, within a minute of Date", iat("1795435195"), noon, noon.Add(-5 * time.Second), 0},
		{"a fractional iat counts in whole seconds", iat("1795435199.75"), noon, noon.Add(-time.Second), 0},
		{"Date, when iat is more than a minute before it", iat("1795435139"), noon, noon, 0},
		{"Date, when iat is more than a minute after it", iat("1795435261"), noon, noon, 0},
		{"Date, when the token is opaque", "opaque", noon, noon, 0},
		{"Date, when iat is not a number", jwtWith(`{"iat":"1795435200"}`), noon, noon, 0},
		{"Date, when the claims are not JSON", jwtWith(`{"iat":1`), noon, noon, 0},
		{"Date, when the claims are not base64", "a.%.c", noon, noon, 0},
		{"iat, when there is no Date", iat("1795435170"), time.Time{}, noon.Add(-30 * time.Second), -29500 * time.Millisecond},
		{"an iat after the expiry is not believed", iat("1795438801"), time.Time{}, noon.Add(time.Second), 0},
		{"an iat of 1970 is not believed", iat("1"), time.Time{}, noon.Add(time.Second), 0},
		{"the local clock, when there is neither", "opaque", time.Time{}, noon.Add(time.Second), 0},
		{"a server that is ahead", iat("1795436100"), noon.Add(15 * time.Minute), noon.Add(15 * time.Minute), 15*time.Minute + 500*time.Millisecond},
		{"a server that is behind", "opaque", noon.Add(-2 * time.Hour), noon.Add(-2 * time.Hour), -2*time.Hour + 500*time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token, err := tokenFrom([]byte(`{"jwt":"`+test.jwt+`","expires_at":`+inAnHour+`}`), answered(test.date))
			if err != nil {
				t.Fatal(err)
			}
			if !token.IssuedAt.Equal(test.wantIssued) || token.Skew != test.wantSkew {
				t.Errorf("issued %s with skew %s, want %s with %s", token.IssuedAt, token.Skew, test.wantIssued, test.wantSkew)
			}
			if want := noon.Add(time.Hour).Sub(test.wantIssued); token.Lifetime() != want {
				t.Errorf("lifetime %s, want %s", token.Lifetime(), want)
			}
			if token.JWT.Reveal() != test.jwt || !token.ReceivedAt.Equal(noon.Add(time.Second)) {
				t.Errorf("jwt %q, received %s", token.JWT.Reveal(), token.ReceivedAt)
			}
		})
	}
}

// TestACallThatTookLongShowsNoSkew: a server that was suspended reads its clock when it resumes, at the end of a call, and not in the middle.
func TestACallThatTookLongShowsNoSkew(t *testing.T) {
	for name, test := range map[string]struct{ ahead, want time.Duration }{
		"the server read its clock when the call started": {0, 0},
		"the server read its clock at the end":            {14 * time.Second, 0},
		"more than that is skew":                          {16 * time.Second, 16*time.Second - 6500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			observed := answered(noon.Add(test.ahead))
			observed.sent, observed.received = noon, noon.Add(14*time.Second)
			if got := observed.skew(noon.Add(test.ahead)); got != test.want {
				t.Errorf("the skew is %s, want %s", got, test.want)
			}
		})
	}
}

func TestAnAnswerIsUsableOrSaysWhyNot(t *testing.T) {
	tests := []struct{ name, body, wantError string }{
		{"an integer expires_at", `{"jwt":"j","expires_at":1795438800}`, ""},
		{"an integral float", `{"jwt":"j","expires_at":1.7954388e9}`, ""},
		{"an integral decimal", `{"jwt":"j","expires_at":1795438800.0}`, ""},
		{"further members are ignored", `{"authorization_details":null,"expires_at":1795438800,"jwt":"j"}`, ""},
		{"a little more than ten seconds left", `{"jwt":"j","expires_at":1795435211.0}`, ""},
		{"no body", ``, "the answer is not the expected JSON object (0 bytes, application/json)"},
		{"a page of a proxy", `<html>secret</html>`, "the answer is not the expected JSON object (19 bytes, application/json)"},
		{"a list", `[]`, "the answer is not the expected JSON object (2 bytes, application/json)"},
		{"JSON with something behind it", `{"jwt":"j","expires_at":1795438800}}`, "the answer is not the expected JSON object (36 bytes, application/json)"},
		{"a cut object", `{"jwt":"j","expires_`, "the answer is not the expected JSON object (20 bytes, application/json)"},
		{"a jwt that is a number", `{"jwt":1,"expires_at":1795438800}`, "the answer is not the expected JSON object (33 bytes, application/json)"},
		{"null", `null`, "the answer has no jwt"},
		{"no jwt", `{"expires_at":1795438800}`, "the answer has no jwt"},
		{"an empty jwt", `{"jwt":"","expires_at":1795438800}`, "the answer has no jwt"},
		{"a jwt with a line break", `{"jwt":"a\nb","expires_at":1795438800}`, "the answer's jwt contains characters that are not allowed in a header"},
		{"a jwt with a letter outside ASCII", `{"jwt":"ä","expires_at":1795438800}`, "the answer's jwt contains characters that are not allowed in a header"},
		{"no expires_at", `{"jwt":"j"}`, "the answer has no expires_at"},
		{"a null expires_at", `{"jwt":"j","expires_at":null}`, "the answer has no expires_at"},
		{"a string", `{"jwt":"j","expires_at":"1795438800"}`, "the answer's expires_at is not a whole number of seconds"},
		{"a fraction", `{"jwt":"j","expires_at":1795438800.5}`, "the answer's expires_at is not a whole number of seconds"},
		{"a number beyond all floats", `{"jwt":"j","expires_at":1e999}`, "the answer's expires_at is not a whole number of seconds"},
		{"an object", `{"jwt":"j","expires_at":{}}`, "the answer's expires_at is not a whole number of seconds"},
		{"milliseconds", `{"jwt":"j","expires_at":1795438800000}`, "the answer's expires_at is not a time in Unix seconds"},
		{"zero", `{"jwt":"j","expires_at":0}`, "the answer's expires_at is not a time in Unix seconds"},
		{"a negative number", `{"jwt":"j","expires_at":-1}`, "the answer's expires_at is not a time in Unix seconds"},
		{"years ahead", `{"jwt":"j","expires_at":4000000000}`, "the token's expiry is too far in the future"},
		{"past", `{"jwt":"j","expires_at":1795435199}`, "the token was already expired on arrival"},
		{"less than ten seconds left", `{"jwt":"j","expires_at":1795435209}`, "the token has less than 10s left"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := tokenFrom([]byte(test.body), answered(noon.Add(-time.Second)))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.wantError {
				t.Errorf("got  %q\nwant %q", got, test.wantError)
			}
		})
	}
}

func TestTheServersClockDecidesWhetherATokenHasExpired(t *testing.T) {
	body := []byte(`{"jwt":"j","expires_at":1795438800}`) // 13:00
	for name, test := range map[string]struct {
		date   time.Time
		usable bool
	}{
		"the local clock is hours behind":        {noon, true},
		"the server says that it is over":        {noon.Add(time.Hour), false},
		"the server says that it is nearly so":   {noon.Add(time.Hour - 5*time.Second), false},
		"the server's clock is in 1970":          {time.Unix(0, 0), false},
		"the server's clock is in the year 9999": {time.Unix(lastSecond, 0).UTC(), false},
	} {
		t.Run(name, func(t *testing.T) {
			observed := answered(test.date)
			observed.sent, observed.received = noon.Add(-9*time.Hour), noon.Add(-9*time.Hour)
			if _, err := tokenFrom(body, observed); (err == nil) != test.usable {
				t.Errorf("error %v, want usable %t", err, test.usable)
			}
		})
	}
}

func TestAnUnusableAnswerIsDescribedAndNotQuoted(t *testing.T) {
	for _, contentType := range []string{"", "text/html; charset=utf-8", strings.Repeat("x", 100) + "/y", "\x00"} {
		observed := answered(noon)
		observed.response.Header.Set("Content-Type", contentType)
		_, err := tokenFrom([]byte(`{"token":"a-token-of-unknown-form"`), observed)
		if err == nil || strings.Contains(err.Error(), "unknown-form") || len(err.Error()) > 160 {
			t.Errorf("with Content-Type %q: %v", contentType, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, body := range []string{``, `null`, `{}`, `[]`, `"x"`, `{"jwt":"j","expires_at":1795438800}`, `{"jwt":"j","expires_at":1.7954388e9}`,
		`{"jwt":"` + testJWT.Reveal() + `","expires_at":1795403600}`, `{"jwt":"` + jwtWith(`{"iat":1e300}`) + `","expires_at":253402300799}`,
		`{"jwt":"` + jwtWith(`{"iat":-1e300}`) + `","expires_at":1e-300}`, `{"jwt":"a..b","expires_at":9223372036854775808}`,
		`{"jwt":".eyJ.","expires_at":0x10}`, "\xff", `{"jwt":"\ud800","expires_at":1}`} {
		for _, date := range []string{"", "Mon, 23 Nov 2026 12:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"} {
			f.Add([]byte(body), date, "application/json")
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, date, contentType string) {
		observed := answered(time.Time{})
		observed.response.Header = http.Header{"Date": {date}, "Content-Type": {contentType}}
		token, err := tokenFrom(body, observed)
		if err != nil {
			if len(err.Error()) > excerptBytes {
				t.Fatalf("a long error: %v", err)
			}
			if prefix := testJWT.Reveal()[:12]; strings.Contains(err.Error(), prefix) && !strings.Contains(contentType, prefix) {
				t.Fatalf("the error quotes the answer: %v", err)
			}
			return
		}
		if shown := fmt.Sprintf("%v %+v %#v", token, token, token); len(token.JWT) > 12 && strings.Contains(shown, token.JWT.Reveal()) {
			t.Fatalf("a token shows itself: %s", shown)
		}
		if token.JWT == "" || token.Lifetime() < minLeft || token.Lifetime() > MaxLifetime || token.ExpiresAt.Year() > 9999 {
			t.Fatalf("unusable token: %v", token)
		}
	})
}
