package reactortoken

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// upgraded are the ReactorTokens in testdata/upgrade-8505e71, with their Secrets.
var upgraded = map[string]string{"default": "default", "scoped": "scoped-token", "adopted": "adopted", "short": "short"}

// upgradeAfter is how long after the world begins the operator of the fixture was stopped. All of its tokens were valid, and none was due:
// short, which lives for 10 minutes, is due after 5 minutes and 56 seconds.
const upgradeAfter = 2 * time.Minute

// loadUpgrade replaces the API server of the world by one that holds the objects of the fixture, as they are: with their UIDs,
// resourceVersions and managed fields.
func (w *world) loadUpgrade() {
	w.Helper()
	tokens, secrets := &v1alpha1.ReactorTokenList{}, &corev1.SecretList{}
	for name, list := range map[string]any{"tokens.yaml": tokens, "secrets.yaml": secrets} {
		text, err := os.ReadFile(filepath.Join("testdata", "upgrade-8505e71", name))
		if err != nil {
			w.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, list); err != nil {
			w.Fatal(err)
		}
	}
	var objects []client.Object
	for i := range tokens.Items {
		objects = append(objects, &tokens.Items[i])
	}
	for i := range secrets.Items {
		objects = append(objects, &secrets.Items[i])
	}
	w.api = newAPI(w.T, objects...)
	w.create(secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, firstKey))
}

// snapshot returns the objects of the fixture as they are now.
func (w *world) snapshot() (tokens map[string]*v1alpha1.ReactorToken, secrets map[string]*corev1.Secret) {
	w.Helper()
	tokens, secrets = map[string]*v1alpha1.ReactorToken{}, map[string]*corev1.Secret{}
	for token, secret := range upgraded {
		tokens[token], secrets[token] = w.token(token), w.secret(secret)
	}
	return tokens, secrets
}

// When this fails, an upgrade of the operator would mint the tokens of running installations again, or write their Secrets. Change the code,
// not the fixture. This release has other texts in conditions, so each status is written once, and only the messages differ.
func TestAnUpgradeLeavesTheSecretsOfThePreviousReleaseAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.loadUpgrade()
		w.passUntil(time.Now().Add(upgradeAfter))
		tokensBefore, secretsBefore := w.snapshot()
		w.start()
		w.pass(time.Minute)
		if got := w.attempts(); got != 0 {
			t.Errorf("%d requests to Reactor, want none", got)
		}
		if got := w.api.Writes(); got != len(upgraded) {
			t.Errorf("%d writes, want one status of each of the %d tokens", got, len(upgraded))
		}
		w.pass(time.Minute)
		if got := w.api.Writes(); got != len(upgraded) {
			t.Errorf("%d writes a minute later, want no further ones", got-len(upgraded))
		}
		tokensAfter, secretsAfter := w.snapshot()
		if diff := cmp.Diff(secretsBefore, secretsAfter); diff != "" {
			t.Errorf("Secrets (-before +after the upgrade):\n%s", diff)
		}
		texts := cmp.Options{cmpopts.IgnoreFields(metav1.Condition{}, "Message"), cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion", "ManagedFields")}
		if diff := cmp.Diff(tokensBefore, tokensAfter, texts); diff != "" {
			t.Errorf("ReactorTokens (-before +after the upgrade):\n%s", diff)
		}
		for token := range upgraded {
			w.want(token, "Ready=True/TokenValid")
			if events := w.eventsOf(token); len(events) != 0 {
				t.Errorf("events of %s: %v", token, events)
			}
		}
		w.wantNoErrors()
	})
}

func TestAnUpgradeRenewsTheTokenThatIsDueOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.loadUpgrade()
		w.passUntil(time.Now().Add(7 * time.Minute))
		_, before := w.snapshot()
		w.start()
		w.pass(time.Minute)
		w.wantMints(1)
		if got := w.attempts(); got != 1 {
			t.Errorf("%d requests to Reactor, want 1", got)
		}
		w.wantValid("short")
		_, after := w.snapshot()
		delete(before, "short")
		delete(after, "short")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the Secrets of the tokens that are not due (-before +after the upgrade):\n%s", diff)
		}
		for token := range upgraded {
			w.want(token, "Ready=True/TokenValid")
		}
		w.wantNoErrors()
	})
}

// The operator does not read a Secret whose resourceVersion is the one in status. Here another client has labeled every Secret meanwhile, so
// the operator reads them all, and compares their checksums and contents with what it would write itself.
func TestAnUpgradeAcceptsSecretsOfThePreviousReleaseThatItReads(t *testing.T) {
	inWorld(t, func(w *world) {
		w.loadUpgrade()
		w.passUntil(time.Now().Add(upgradeAfter))
		for _, secret := range upgraded {
			w.editSecret(secret, func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, "example.com/labeled", "true") })
		}
		_, before := w.snapshot()
		w.start()
		w.pass(time.Minute)
		for _, secret := range upgraded {
			if w.api.Asked(call{Verb: "get", Kind: "Secret", Name: secret}) == 0 {
				t.Errorf("Secret %s was not read", secret)
			}
		}
		if got := w.attempts(); got != 0 {
			t.Errorf("%d requests to Reactor, want none", got)
		}
		if _, after := w.snapshot(); !cmp.Equal(before, after) {
			t.Errorf("Secrets (-before +after the upgrade):\n%s", cmp.Diff(before, after))
		}
		for token := range upgraded {
			w.want(token, "Ready=True/TokenValid")
		}
		w.wantNoErrors()
	})
}
