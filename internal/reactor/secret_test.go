package reactor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const testKey = Secret("rk_live_0123456789abcdefABCDEF")

// testJWT is a JWT with the claims {"iat":1795400000,"exp":1795403600}; its signature is noise.
const testJWT = Secret("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3OTU0MDAwMDAsImV4cCI6MTc5NTQwMzYwMH0.c2lnbmF0dXJlLXNpZ25hdHVyZQ")

func TestNothingPrintsASecret(t *testing.T) {
	type holder struct {
		Key   Secret
		Inner struct {
			Token   *Token
			Request *MintRequest
		}
		List []Secret
		Map  map[string]Secret
		Any  any
	}
	request := MintRequest{APIKey: testKey, Scope: &Scope{Models: []string{"reactor/helios"}}}
	secrets := holder{Key: testKey, List: []Secret{testKey}, Map: map[string]Secret{"key": testKey}, Any: testKey}
	secrets.Inner.Token, secrets.Inner.Request = &Token{JWT: testKey}, &request

	printed := map[string]string{}
	for verb := range strings.FieldsSeq("%v %+v %#v %s %q %+q %#q %x %X %# x %d %o %b %c %U %e %f %g %t %10v %-50s %.3s %08d") {
		printed[verb] = fmt.Sprintf(verb, testKey)
		for name, value := range map[string]any{"struct": secrets, "request": request, "token": *secrets.Inner.Token, "list": secrets.List} {
			printed[verb+" of a "+name] = fmt.Sprintf(verb, value)
		}
	}
	printed["Sprint"] = fmt.Sprint(testKey, secrets, request)
	printed["an error"] = fmt.Errorf("key %v: %w", testKey, errors.New("no")).Error()
	printed["a failed call"] = (&Error{Err: wrapRedacted("x", fmt.Errorf("header %q", testKey.Reveal()), testKey)}).Error()
	printed["slog text"] = logged(func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) }, secrets, request)
	printed["slog JSON"] = logged(func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) }, secrets, request)
	for name, value := range map[string]any{"struct": secrets, "request": request, "secret": testKey, "pointer": new(testKey)} {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("json of a %s: %v", name, err)
		}
		printed["JSON of a "+name] = string(encoded)
	}

	for how, text := range printed {
		for _, form := range []string{testKey.Reveal(), "0123456789abcdef", fmt.Sprintf("%x", testKey.Reveal()), fmt.Sprintf("%X", testKey.Reveal())} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows the secret: %s", how, text)
			}
		}
	}
}

func logged(handler func(*bytes.Buffer) slog.Handler, secrets any, request MintRequest) string {
	var out bytes.Buffer
	log := slog.New(handler(&out))
	log.Info("all forms", "secret", testKey, "pointer", new(testKey), "struct", secrets, "request", request,
		slog.Group("group", "key", testKey), "list", []Secret{testKey}, "marshaler", testKey.MarshalLog())
	return out.String()
}

func TestASecretIsRevealedOnlyByItsMethod(t *testing.T) {
	if got := testKey.Reveal(); got != "rk_live_0123456789abcdefABCDEF" {
		t.Errorf("Reveal() = %q", got)
	}
	for how, got := range map[string]string{
		"String": testKey.String(), "GoString": testKey.GoString(), "LogValue": testKey.LogValue().String(),
		"the empty secret": Secret("").String(),
	} {
		if got != "[redacted]" {
			t.Errorf("%s = %q, want [redacted]", how, got)
		}
	}
}
