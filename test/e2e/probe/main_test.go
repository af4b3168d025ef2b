package main

import (
	"os"
	"strings"
	"testing"
)

func TestATokenIsDescribedByItsIDAndNeverQuoted(t *testing.T) {
	// The claims are {"jti":"one"}, [] and no base64url.
	tests := map[string]struct {
		token string
		want  sighting
	}{
		"a token":          {"eyJ9.eyJqdGkiOiJvbmUifQ.signature", sighting{JTI: "one"}},
		"no JWT":           {"secret", sighting{Error: "this is no JWT: it has 1 parts"}},
		"no base64url":     {"eyJ9.secret!.signature", sighting{Error: "the claims are not base64url"}},
		"no JSON object":   {"eyJ9.W10.signature", sighting{Error: "the claims are not JSON"}},
		"no id in a token": {"eyJ9.e30.signature", sighting{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := describe(test.token); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTheEnvironmentIsReadOnceAndAnEndIsObeyed(t *testing.T) {
	t.Setenv("PROBE_TEST_TOKEN", "eyJ9.eyJqdGkiOiJvbmUifQ.signature")
	stop := make(chan os.Signal, 1)
	stop <- os.Interrupt
	var out strings.Builder
	if err := run([]string{"env", "PROBE_TEST_TOKEN"}, stop, &out); err != nil {
		t.Fatal(err)
	}
	if want := "{\"jti\":\"one\"}\n"; out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
	if err := run([]string{"env"}, stop, &out); err == nil {
		t.Error("it runs without a name")
	}
}
