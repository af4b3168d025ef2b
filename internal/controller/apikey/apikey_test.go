package apikey

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	namespace = "studio"
	firstKey  = "rk_first-0123456789abcdef"
	secondKey = "rk_second-0123456789abcdef"
)

var reference = v1alpha1.APIKeySecretReference{Name: "reactor-api-key"}

func newAPIServer() client.Client { return fake.NewClientBuilder().Build() }

// secretWith is the Secret that holds the key; each has a UID of its own.
func secretWith(key string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: reference.Name, UID: types.UID(rand.Text())},
		Data:       map[string][]byte{v1alpha1.DefaultAPIKeyKey: []byte(key)},
	}
}

func TestReadAPIKey(t *testing.T) {
	const (
		missing = `Secret "keys" has no key "api-key": add the Reactor API key under it, or name the right key in spec.apiKeySecretRef.key`
		invalid = `key "api-key" of Secret "keys" does not hold a Reactor API key, which begins with rk_: put the key there as Reactor shows it`
	)
	tests := []struct {
		name  string
		data  map[string][]byte
		named string
		want  reactor.Secret
		told  string
	}{
		{name: "a key", data: map[string][]byte{"api-key": []byte("rk_abc")}, want: "rk_abc"},
		{name: "a key under another name", data: map[string][]byte{"other": []byte("rk_abc")}, named: "other", want: "rk_abc"},
		{name: "a key with the newline of an editor", data: map[string][]byte{"api-key": []byte(" rk_abc\r\n")}, want: "rk_abc"},
		{name: "a key of all that a header takes", data: map[string][]byte{"api-key": []byte("rk_!~{}/+=")}, want: "rk_!~{}/+="},
		{name: "no data", told: missing},
		{name: "another key", data: map[string][]byte{"other": []byte("rk_abc")}, told: missing},
		{name: "nothing under the key", data: map[string][]byte{"api-key": nil}, told: invalid},
		{name: "a password", data: map[string][]byte{"api-key": []byte("hunter2")}, told: invalid},
		{name: "only the prefix", data: map[string][]byte{"api-key": []byte("rk_\n")}, told: invalid},
		{name: "a key with a blank in it", data: map[string][]byte{"api-key": []byte("rk_a b")}, told: invalid},
		{name: "two keys", data: map[string][]byte{"api-key": []byte("rk_a\nrk_b")}, told: invalid},
		{name: "a key in base64", data: map[string][]byte{"api-key": []byte("cmtfYWJj")}, told: invalid},
		{name: "a key with a control character", data: map[string][]byte{"api-key": []byte("rk_a\x00b")}, told: invalid},
		{name: "a key with a letter that no header takes", data: map[string][]byte{"api-key": []byte("rk_ä")}, told: invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, told := read(&corev1.Secret{Data: test.data}, v1alpha1.APIKeySecretReference{Name: "keys", Key: test.named})
			if got.Reveal() != test.want.Reveal() {
				t.Error("another key was read")
			}
			var message string
			if told != nil {
				message = told.Message
			}
			if diff := cmp.Diff(test.told, message); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// The fingerprints stand in the Secrets of running installations: if they change, an upgrade mints every token anew.
func TestFingerprintsDoNotChange(t *testing.T) {
	if diff := cmp.Diff("36bcdb60a95c8f71", FingerprintOf("rk_first")); diff != "" {
		t.Errorf("fingerprint (-want +got):\n%s", diff)
	}
	if FingerprintOf("rk_first") == FingerprintOf("rk_second") {
		t.Error("two keys have one fingerprint")
	}
}

// reads counts and fails the reads of a client.
type reads struct {
	client.Reader
	count int
	err   error
}

func (r *reads) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	r.count++
	if r.err != nil {
		return r.err
	}
	return r.Reader.Get(ctx, key, into, options...)
}

func TestAKeyIsReadOnceForAllItsTokensAndAgainWhenItsSecretChanged(t *testing.T) {
	api := newAPIServer()
	ctx := t.Context()
	secret := secretWith(firstKey)
	if err := api.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	live := &reads{Reader: api}
	ring := NewKeyring(api, live)
	look := func(wantFingerprint string, wantReads int) {
		t.Helper()
		got, err := ring.Look(ctx, namespace, reference)
		if err != nil || got.Fingerprint != wantFingerprint || live.count != wantReads {
			t.Errorf("fingerprint %q, want %q; %d reads, want %d; %v", got.Fingerprint, wantFingerprint, live.count, wantReads, err)
		}
	}
	look(FingerprintOf(firstKey), 1)
	look(FingerprintOf(firstKey), 1)

	secret.Data[v1alpha1.DefaultAPIKeyKey] = []byte(secondKey)
	if err := api.Update(ctx, secret); err != nil {
		t.Fatal(err)
	}
	look(FingerprintOf(secondKey), 2)
	look(FingerprintOf(secondKey), 2)

	if err := api.Delete(ctx, secret); err != nil {
		t.Fatal(err)
	}
	look("", 2)
	recreated := secretWith(firstKey)
	if err := api.Create(ctx, recreated); err != nil {
		t.Fatal(err)
	}
	look(FingerprintOf(firstKey), 3)
}

func TestAKeyThatCannotBeReadIsAnErrorAndNotAMissingKey(t *testing.T) {
	api := newAPIServer()
	if err := api.Create(t.Context(), secretWith(firstKey)); err != nil {
		t.Fatal(err)
	}
	away := &reads{Reader: api, err: errors.New("connection refused")}
	for name, ring := range map[string]*Keyring{"its metadata": NewKeyring(away, api), "itself": NewKeyring(api, away)} {
		t.Run(name, func(t *testing.T) {
			got, err := ring.Look(t.Context(), namespace, reference)
			if err == nil || !strings.Contains(err.Error(), namespace+"/"+reference.Name) || got.Problem != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestAKeyThatWentBetweenTheLookAndTheReadIsMissing(t *testing.T) {
	api := newAPIServer()
	key, seen, err := NewKeyring(api, api).Read(t.Context(), namespace, reference)
	if key != "" || err != nil || seen.Problem == nil || seen.Problem.Reason != v1alpha1.ReasonAPIKeyNotFound {
		t.Errorf("%+v, %v", seen, err)
	}
}
