package main

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

// veil keeps keys and tokens off the screen: of each only the beginning is shown.
type veil struct{ replacements []string }

// shown is how many characters of a secret are shown.
const shown = 6

var (
	jwtForm    = regexp.MustCompile(`eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*`)
	base64Form = regexp.MustCompile(`ZXlK[A-Za-z0-9+/]{20,}=*`) // of a JWT: eyJ in base64
)

// hide makes the veil know a key, also as it stands in a Secret.
func (v *veil) hide(key string) {
	encoded := base64.StdEncoding.EncodeToString([]byte(key))
	v.replacements = append(v.replacements, key, key[:min(shown, len(key)/2)]+"…", encoded, encoded[:min(shown, len(encoded)/2)]+"…")
}

// over returns the text with what is secret in it cut short.
func (v *veil) over(text string) string {
	text = strings.NewReplacer(v.replacements...).Replace(text)
	for _, form := range []*regexp.Regexp{jwtForm, base64Form} {
		text = form.ReplaceAllStringFunc(text, func(secret string) string {
			return fmt.Sprintf("%s… (%d characters)", secret[:shown+4], len(secret))
		})
	}
	return text
}
