package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// theirs is a Secret that somebody else made.
func theirs(changes ...func(*corev1.Secret)) *corev1.Secret {
	secret := secretIn(namespace, "web", "password", "kept")
	secret.Labels = map[string]string{"app": "theirs"}
	for _, change := range changes {
		change(secret)
	}
	return secret
}

func consenting(secret *corev1.Secret) {
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AllowAdoptionByAnnotation, "web")
}

func TestASecretOfSomebodyElseIsNotTouched(t *testing.T) {
	for name, secret := range map[string]*corev1.Secret{
		"without any consent":        theirs(),
		"with a consent for another": theirs(func(s *corev1.Secret) { s.Annotations = map[string]string{v1alpha1.AllowAdoptionByAnnotation: "other"} }),
		"owned by another controller": theirs(func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{controlledBy("Certificate", "web", "u1")}
		}),
		"that is a token of its own":    secretIn(namespace, "web", targetsecret.JWTKey, "theirs"),
		"with our label and not our id": theirs(func(s *corev1.Secret) { s.Labels[targetsecret.ManagedByLabel] = targetsecret.ManagedByValue }),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(secret.DeepCopy())
				before := w.secret("web")
				w.create(newToken("web"))
				w.start()
				w.pass(time.Hour)
				if diff := cmp.Diff(before, w.secret("web")); diff != "" {
					t.Errorf("it was changed (-before +after):\n%s", diff)
				}
				if w.attempts() != 0 {
					t.Error("a token was requested that cannot be written")
				}
				w.want("web", "Ready=False/SecretNotOwned", "Renewed=False/SecretNotOwned", "Stalled=True/SecretNotOwned")
				if diff := cmp.Diff([]string{"SecretNotOwned"}, w.eventsOf("web")); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
				w.remove(w.secret("web"))
				w.settle()
				w.want("web", "Ready=True/TokenValid", "Stalled=")
			})
		})
	}
}

func controlledBy(kind, name, uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "example.com/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}
}

func TestASecretIsAdoptedByConsentAndOnlyOurKeysGoInTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(theirs(), newToken("web", dressed, lifetime("1h")))
		w.start()
		w.want("web", "Ready=False/SecretNotOwned")
		w.editSecret("web", consenting)
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
		w.wantValid("web")
		w.wantMints(1)
		adopted := w.secret("web")
		if len(adopted.OwnerReferences) != 0 || string(adopted.Data["password"]) != "kept" || adopted.Labels["app"] != "theirs" {
			t.Errorf("owners %v, labels %v", adopted.OwnerReferences, adopted.Labels)
		}
		if adopted.Labels[targetsecret.ManagedByLabel] != "" {
			t.Error("a Secret that was adopted has our label")
		}
		if got := w.count("web", "SecretAdopted"); got != 1 {
			t.Errorf("the adoption was told %d times", got)
		}

		w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
		w.wantMints(2)
		w.wantValid("web")
		if got := w.count("web", "SecretAdopted"); got != 1 {
			t.Errorf("after a renewal the adoption was told %d times", got)
		}

		w.remove(w.token("web"))
		w.settle()
		w.wantStripped()
	})
}

// wantStripped checks that nothing of ours is left in a Secret that was adopted, and all that is theirs.
func (w *world) wantStripped() {
	w.Helper()
	secret := w.secret("web")
	if secret == nil {
		w.Fatal("the Secret that was adopted was deleted")
	}
	want := theirs(consenting)
	if diff := cmp.Diff(want.Data, secret.Data); diff != "" {
		w.Errorf("data (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Annotations, secret.Annotations); diff != "" {
		w.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Labels, secret.Labels); diff != "" {
		w.Errorf("labels (-want +got):\n%s", diff)
	}
}

func TestAnAdoptedSecretIsStrippedEvenWhenTheObjectWasDeletedWhileTheOperatorWasAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(theirs(consenting), newToken("web", dressed))
		w.start()
		w.wantValid("web")
		w.stop()
		w.remove(w.token("web"))
		w.start()
		w.wantStripped()
	})
}

func TestAWithdrawnConsentIsRespectedAndCanBeGivenAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(theirs(consenting), newToken("web", lifetime("1h")))
		w.start()
		w.wantValid("web")
		w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Annotations, v1alpha1.AllowAdoptionByAnnotation) })
		before := w.secret("web")
		w.pass(2 * time.Hour)
		w.want("web", "Ready=False/SecretNotOwned", "Stalled=True/SecretNotOwned")
		if diff := cmp.Diff(before, w.secret("web")); diff != "" {
			t.Errorf("it was changed without consent (-before +after):\n%s", diff)
		}
		w.wantMints(1)
		w.editSecret("web", consenting)
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Stalled=")
		w.wantValid("web")
	})
}

// The consent is what counts, not who wrote the Secret before, or which ReactorToken is older.
func TestAConsentThatMovesFromOneToAnotherIsFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		consentTo := func(name string) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Annotations[v1alpha1.AllowAdoptionByAnnotation] = name })
			w.settle()
		}
		w.create(newToken("older", writesTo("web")))
		w.pass(time.Second)
		w.create(newToken("younger", writesTo("web")), theirs(consenting))
		w.start()
		for range 2 {
			consentTo("younger")
			w.want("younger", "Ready=True/TokenValid")
			w.want("older", "Ready=False/SecretClaimed")
			consentTo("older")
			w.want("older", "Ready=True/TokenValid")
			w.want("younger", "Ready=False/SecretClaimed")
		}
		w.wantValid("web")
	})
}

// The watch leaves such Secrets out, so that nothing tells when they go.
func TestATargetThatTheWatchOmitsIsReadAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		helm := theirs(func(s *corev1.Secret) { s.Type = targetsecret.UnwatchedTypes[0] })
		w.start()
		w.create(helm, newToken("web"))
		w.settle()
		w.want("web", "Ready=False/SecretNotOwned", "Stalled=True/SecretNotOwned")
		w.pass(time.Hour)
		w.wantMints(1) // the first write found it
		w.remove(helm)
		w.pass(maxWait)
		w.want("web", "Ready=True/TokenValid", "Stalled=")
	})
}

func TestASecretThatCannotBeWrittenIsRefused(t *testing.T) {
	for name, change := range map[string]func(*corev1.Secret){
		"an immutable one":      func(s *corev1.Secret) { s.Immutable = new(true) },
		"one of another type":   func(s *corev1.Secret) { s.Type = corev1.SecretTypeBasicAuth },
		"one of a bootstrapper": func(s *corev1.Secret) { s.Type = "bootstrap.kubernetes.io/token" },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(theirs(consenting, change), newToken("web"))
				before := w.secret("web")
				w.start()
				w.want("web", "Ready=False/SecretUnusable", "Stalled=True/SecretUnusable")
				if diff := cmp.Diff(before, w.secret("web")); diff != "" || w.attempts() != 0 {
					t.Errorf("%d requests; the Secret was changed (-before +after):\n%s", w.attempts(), diff)
				}
				w.remove(w.secret("web"))
				w.settle()
				w.want("web", "Ready=True/TokenValid", "Stalled=")
			})
		})
	}
}

func TestOurSecretThatWasMadeImmutableIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		w.editSecret("web", func(s *corev1.Secret) { s.Immutable = new(true) })
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Renewed=False/SecretUnusable", "Stalled=")
		w.stop()
		w.start()
		w.want("web", "Ready=True/TokenValid", "Renewed=False/SecretUnusable", "Stalled=")
		w.passUntil(w.token("web").Status.ExpirationTime.Add(time.Second))
		w.want("web", "Ready=False/TokenExpired", "Renewed=False/SecretUnusable", "Stalled=True/SecretUnusable")
		w.wantMints(1)
	})
}
