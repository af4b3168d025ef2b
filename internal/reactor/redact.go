package reactor

import (
	"cmp"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// secretForms are the forms by which a secret is recognized. Each has a marker, without which the form cannot occur: a search for the
// marker is much faster than the expression.
var secretForms = []struct {
	marker      string
	expression  *regexp.Regexp
	replacement string
}{
	// A key starts with rk_. Its alphabet is not published, so the expression matches everything up to a blank, a quote or a
	// bracket. An escape sequence (%3D or \n) may precede the key, although it ends with a letter or a digit. Any other letter or
	// digit before rk_ means that rk_ is part of a word, such as network_error.
	{"rk_", regexp.MustCompile(`(^|[^A-Za-z0-9]|%[0-9A-Fa-f]{2}|\\[abfnrtv]|\\u[0-9A-Fa-f]{4})rk_[^\s"'<>(){}\[\],;]+`), "${1}" + redacted},

	// eyJ is {" in base64. Every part of a JWT except the signature starts with it. Parts may be missing.
	{"eyJ", regexp.MustCompile(`eyJ[A-Za-z0-9_+/=-]{5,}(?:\.[A-Za-z0-9_+/=-]*)*`), redacted},

	// The password of a URL, as net/http prints it when a proxy's address in the environment does not parse.
	{"@", regexp.MustCompile(`[^\s"']+:[^\s"']*@`), redacted + "@"},
}

// Redact replaces these by [redacted]: the known secrets, plain or in base64, and everything that looks like an API key (rk_…), a JWT
// (eyJ….….…, even without its end) or the credentials of a URL. A known secret is recognized even if s ends in the middle of it.
// Redacted text may be redacted again.
func Redact(s string, known ...Secret) string {
	s = knownReplacer(known).Replace(s)
	for _, secret := range known {
		s = redactCutEnd(s, string(secret))
	}
	for _, form := range secretForms {
		if strings.Contains(s, form.marker) {
			s = form.expression.ReplaceAllString(s, form.replacement)
		}
	}
	return s
}

// knownReplacer replaces all forms of the secrets in one scan. Longer forms have precedence, because a shorter form may be part of a longer
// one.
func knownReplacer(known []Secret) *strings.Replacer {
	var forms []string
	for _, secret := range known {
		if secret != "" {
			forms = append(forms, string(secret))
			forms = append(forms, base64Forms(string(secret))...)
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	return strings.NewReplacer(pairs...)
}

// base64Forms returns the base64 encodings of the secret, alone and as part of a longer text. As part of a text, the encoding depends on
// the offset of the secret modulo 3, and its first and last letters also encode bits of the neighboring bytes. Those letters are omitted.
func base64Forms(secret string) []string {
	const minLength = 8 // letters; shorter forms also match other words
	var forms []string
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		whole := encoding.EncodeToString([]byte(secret))
		forms = append(forms, whole, strings.TrimRight(whole, "="))
		for shift := range 3 {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			start, end := (shift*8+5)/6, (shift+len(secret))*8/6
			if end-start >= minLength {
				forms = append(forms, encoded[start:end])
			}
		}
	}
	return forms
}

// redactCutEnd replaces the end of s if it is the start of the secret: s was cut in the middle of the secret.
func redactCutEnd(s, secret string) string {
	const minLength = 4 // bytes; fewer reveal nothing about a secret, and match by chance
	for length := min(len(secret)-1, len(s)); length >= minLength; length-- {
		if strings.HasSuffix(s, secret[:length]) {
			return s[:len(s)-length] + redacted
		}
	}
	return s
}

// excerptBytes is the maximum length of the part of an answer, or of the text of a cause, in an error.
const excerptBytes = 256

// excerptOf returns text from outside the process in a form that is safe for a condition or a log line: one line, printable, valid UTF-8,
// redacted, and at most excerptBytes long. It redacts before it cuts: a secret that was cut first might not be recognized.
func excerptOf(s string, known ...Secret) string {
	printable := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	line := Redact(strings.Join(strings.Fields(printable), " "), known...)
	return shortened(line, excerptBytes)
}

// shortened cuts a line of valid UTF-8 to at most limit bytes. A line that was cut ends with an ellipsis.
func shortened(line string, limit int) string {
	if len(line) <= limit {
		return line
	}
	const ellipsis = "…"
	end := limit - len(ellipsis)
	for !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + ellipsis
}

// RedactError returns an error with the redacted text of err (see Redact). errors.Is and errors.As find err and the errors that it wraps.
func RedactError(err error, known ...Secret) error {
	return &redactedError{text: Redact(err.Error(), known...), cause: err}
}

type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }
