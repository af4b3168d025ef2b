package apikey

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

func TestParseKey(t *testing.T) {
	const (
		missing = `Secret "keys" has no key "api-key". Add the Reactor API key under it, or set spec.apiKeySecretRef.key to the key that has it`
		invalid = `key "api-key" of Secret "keys" does not hold a Reactor API key, which starts with rk_. Write the key there exactly as Reactor shows it`
	)
	tests := []struct {
		name    string
		data    map[string][]byte
		named   string
		want    reactor.Secret
		message string
	}{
		{name: "a key", data: map[string][]byte{"api-key": []byte("rk_abc")}, want: "rk_abc"},
		{name: "a key under another name", data: map[string][]byte{"other": []byte("rk_abc")}, named: "other", want: "rk_abc"},
		{name: "a key with the newline of an editor", data: map[string][]byte{"api-key": []byte(" rk_abc\r\n")}, want: "rk_abc"},
		{name: "a key of all that a header takes", data: map[string][]byte{"api-key": []byte("rk_!~{}/+=")}, want: "rk_!~{}/+="},
		{name: "no data", message: missing},
		{name: "another key", data: map[string][]byte{"other": []byte("rk_abc")}, message: missing},
		{name: "nothing under the key", data: map[string][]byte{"api-key": nil}, message: invalid},
		{name: "a password", data: map[string][]byte{"api-key": []byte("hunter2")}, message: invalid},
		{name: "only the prefix", data: map[string][]byte{"api-key": []byte("rk_\n")}, message: invalid},
		{name: "a key with a blank in it", data: map[string][]byte{"api-key": []byte("rk_a b")}, message: invalid},
		{name: "two keys", data: map[string][]byte{"api-key": []byte("rk_a\nrk_b")}, message: invalid},
		{name: "a key in base64", data: map[string][]byte{"api-key": []byte("cmtfYWJj")}, message: invalid},
		{name: "a key with a control character", data: map[string][]byte{"api-key": []byte("rk_a\x00b")}, message: invalid},
		{name: "a key with a letter that no header takes", data: map[string][]byte{"api-key": []byte("rk_ä")}, message: invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, problem := parseKey(&corev1.Secret{Data: test.data}, v1alpha1.APIKeySecretReference{Name: "keys", Key: test.named})
			if got.Reveal() != test.want.Reveal() {
				t.Error("the wrong key was parsed")
			}
			message := ""
			if problem != nil {
				message = problem.Message
			}
			if diff := cmp.Diff(test.message, message); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// The fingerprints are stored in the Secrets of running installations: if they change, an upgrade requests every token again.
func TestFingerprintsDoNotChange(t *testing.T) {
	if diff := cmp.Diff("36bcdb60a95c8f71", FingerprintOf("rk_first")); diff != "" {
		t.Errorf("fingerprint (-want +got):\n%s", diff)
	}
	if FingerprintOf("rk_first") == FingerprintOf("rk_second") {
		t.Error("two keys have one fingerprint")
	}
}
