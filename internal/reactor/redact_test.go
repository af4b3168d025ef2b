package reactor

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRedactTakesOutWhateverMayBeASecret(t *testing.T) {
	jwt := testJWT.Reveal()
	parts := strings.Split(jwt, ".")
	opaque := Secret("opaque-secret-0123456789")
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := []struct {
		name  string
		in    string
		known []Secret
		want  string
	}{
		{name: "text without a secret stays as it is", in: `{"error":"network_error","message":"work_queue is full"}`,
			want: `{"error":"network_error","message":"work_queue is full"}`},
		{name: "a key in JSON", in: `{"key":"rk_live_abc.def-g"}`, want: `{"key":"[redacted]"}`},
		{name: "a key at the start", in: "rk_a is unknown", want: "[redacted] is unknown"},
		{name: "a key after a percent escape", in: "key%3Drk_abcdef", want: "key%3D[redacted]"},
		{name: "a key after an escaped line break", in: `bad:\nrk_abcdef`, want: `bad:\n[redacted]`},
		{name: "a key after an underscore", in: "old_rk_abcdef", want: "old_[redacted]"},
		{name: "a cut key", in: "key rk_ab", want: "key [redacted]"},
		{name: "a JWT", in: "Bearer " + jwt + " is bad", want: "Bearer [redacted] is bad"},
		{name: "a JWT without its signature", in: parts[0] + "." + parts[1], want: "[redacted]"},
		{name: "a JWT cut in its first part", in: "token=" + jwt[:12], want: "token=[redacted]"},
		{name: "the payload of a JWT alone", in: "payload " + parts[1], want: "payload [redacted]"},
		{name: "a known secret of no known form", in: "key opaque-secret-0123456789!", known: []Secret{opaque}, want: "key [redacted]!"},
		{name: "a known secret, cut by the end of the text", in: "key opaque-secret-01", known: []Secret{opaque}, want: "key [redacted]"},
		{name: "a known secret in base64", in: "data: " + encoded("opaque-secret-0123456789"), known: []Secret{opaque}, want: "data: [redacted]"},
		{name: "of two known secrets the longer first", in: "abcdefgh", known: []Secret{"abcd", "abcdefgh"}, want: "[redacted]"},
		{name: "an empty known secret replaces nothing", in: "abc", known: []Secret{""}, want: "abc"},
		{name: "the password of a proxy", in: `invalid proxy address "http://user:p@ss/word@proxy:3128": no`,
			want: `invalid proxy address "[redacted]@proxy:3128": no`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Redact(test.in, test.known...)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if twice := Redact(got, test.known...); twice != got {
				t.Errorf("redacted again it becomes %s", twice)
			}
		})
	}
}

func TestRedactFindsAKnownSecretInsideALongerBase64Text(t *testing.T) {
	secret := Secret("opaque?secret>0123456789~~~")
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for shift := range 4 {
			text := encoding.EncodeToString([]byte(strings.Repeat("u", shift) + secret.Reveal() + ":tail"))
			got := Redact(text, secret)
			// What remains are the neighbours, and the letters that they share with the secret.
			if !strings.Contains(got, redacted) || len(got)-len(redacted) > len("uuuu:tail")*8/6+4 {
				t.Errorf("at distance %d, %s became %s", shift, text, got)
			}
		}
	}
}

func TestAnExcerptIsOneShortPrintableLine(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"short text stays", "not found", "not found"},
		{"line breaks and control characters become blanks", " a\r\n\tb\x00c\x1b[31m\u202ed ", "a b c [31m d"},
		{"broken UTF-8 becomes a blank", "a\xff\xfeb", "a b"},
		{"long text is cut with an ellipsis", strings.Repeat("x", 300), strings.Repeat("x", 253) + "…"},
		{"a cut does not split a letter", strings.Repeat("ü", 200), strings.Repeat("ü", 126) + "…"},
		{"a secret on the cut leaves no half", strings.Repeat("x", 240) + " " + testJWT.Reveal(), strings.Repeat("x", 240) + " [redacted]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := excerptOf(test.in); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func FuzzRedact(f *testing.F) {
	for _, around := range []string{"", " ", `{"key":"`, "%3D", `\n`, "rk_", "eyJ", "user:", "@", "\xff", "a:b@c", "==", "[redacted]"} {
		f.Add(around, around)
		f.Add(around, " tail")
	}
	opaque := Secret("0paque~secret~of~no~form")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, secret := range []Secret{testKey, testJWT, opaque} {
			text := before + secret.Reveal() + after
			got := Redact(text, secret)
			if strings.Contains(got, secret.Reveal()) {
				t.Fatalf("the secret is in %q", got)
			}
			excerpt := excerptOf(text, secret)
			if len(excerpt) > excerptBytes || !utf8.ValidString(excerpt) || strings.ContainsAny(excerpt, "\r\n\t\x00") {
				t.Fatalf("excerpt %q", excerpt)
			}
			if strings.Contains(excerpt, secret.Reveal()[:12]) && !strings.Contains(before+after, secret.Reveal()[:12]) {
				t.Fatalf("the excerpt shows the start of the secret: %q", excerpt)
			}
		}
	})
}

func ExampleRedact() {
	fmt.Println(Redact(`{"error":"the key rk_live_123 is unknown"}`))
	// Output: {"error":"the key [redacted] is unknown"}
}
