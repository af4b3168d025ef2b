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

// secretForms are the forms that give a secret away, each with a text without which it cannot occur: looking for that is
// much faster than the expression.
var secretForms = []struct {
	marker      string
	expression  *regexp.Regexp
	replacement string
}{
	// A key begins with rk_; its alphabet is not published, so all is taken up to a blank, a quote or a bracket. What
	// stands before it may be an escape (%3D or \n), whose last letter is not the begin of a longer word; the
	// letters before rk_ in network_error are.
	{"rk_", regexp.MustCompile(`(^|[^A-Za-z0-9]|%[0-9A-Fa-f]{2}|\\[abfnrtv]|\\u[0-9A-Fa-f]{4})rk_[^\s"'<>(){}\[\],;]+`), "${1}" + redacted},

	// eyJ is {" in base64, with which every part of a JWT begins but the signature; parts may be missing.
	{"eyJ", regexp.MustCompile(`eyJ[A-Za-z0-9_+/=-]{5,}(?:\.[A-Za-z0-9_+/=-]*)*`), redacted},

	// The password of a URL, as net/http prints it when a proxy's address in the environment does not parse.
	{"@", regexp.MustCompile(`[^\s"']+:[^\s"']*@`), redacted + "@"},
}

// Redact replaces by [redacted] the known secrets, plain or in base64, and whatever looks like an API key (rk_…), a JWT
// (eyJ….….…, also without its end) or the credentials of a URL. A known secret is also recognised when s ends in its
// middle. Text that was redacted may be redacted again.
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

// knownReplacer replaces all forms of the secrets in one pass, the longest first, so that no form spoils another.
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

// base64Forms returns what the secret looks like in base64, also inside a longer text: there its encoding depends on its
// distance from the text's begin modulo 3, and the letters at its borders mix with its neighbours.
func base64Forms(secret string) []string {
	const minLength = 8 // letters; less would hit innocent words
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

// redactCutEnd replaces the end of s if it is the begin of the secret: s was cut in the secret's middle.
func redactCutEnd(s, secret string) string {
	const minLength = 4 // bytes; less tells nothing about a secret and is found by chance
	for length := min(len(secret)-1, len(s)); length >= minLength; length-- {
		if strings.HasSuffix(s, secret[:length]) {
			return s[:len(s)-length] + redacted
		}
	}
	return s
}

// excerptBytes bounds what an error says about an answer or a cause.
const excerptBytes = 256

// excerptOf returns text from outside in a form that may stand in a condition or a log line: one line, printable, valid
// UTF-8, redacted, and at most excerptBytes long. It redacts before it cuts, so that no half of a secret remains.
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

// shortened cuts a line of valid UTF-8 to at most limit bytes, and marks the cut.
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

// RedactError returns an error with the text of err without secrets: those that are known, and those that Redact finds by their form. errors.Is and
// errors.As find what err wraps.
func RedactError(err error, known ...Secret) error {
	return &redactedError{text: Redact(err.Error(), known...), cause: err}
}

type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }
