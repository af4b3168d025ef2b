package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func retained(token *v1alpha1.ReactorToken) {
	token.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain
}

func TestAnotherSecretNameMovesTheToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.edit("web", writesTo("moved"))
		w.settle()
		w.wantValid("moved")
		if w.secret("web") != nil {
			t.Error("the old Secret is still there")
		}
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		if got := w.token("web").Status.SecretName; got != "moved" {
			t.Errorf("status names the Secret %q", got)
		}
		w.wantMints(2)
		if got := w.count("web", "SecretRemoved"); got != 1 {
			t.Errorf("the removal was told %d times", got)
		}
	})
}

func TestTheOldSecretStaysUntilTheNewOneIsWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Name == "moved" {
				return forbidden(made, do)
			}
			return do()
		})
		w.edit("web", writesTo("moved"))
		w.pass(time.Minute)
		w.wantValid("web")
		w.stop() // and a crash in the middle leaves nothing behind
		w.api.MeddleWith(nil)
		w.start()
		w.pass(writeBackoffCap)
		w.wantValid("moved")
		if w.secret("web") != nil {
			t.Error("the old Secret is still there")
		}
	})
}

func TestOldSecretsThatAreNotToBeDeletedStay(t *testing.T) {
	for name, test := range map[string]struct {
		objects func(w *world)
		check   func(w *world)
	}{
		"a retained one, with its token": {
			func(w *world) { w.create(newToken("web", retained)) },
			func(w *world) { w.wantValid("web") },
		},
		"an adopted one, without our keys": {
			func(w *world) { w.create(theirs(consenting), newToken("web")) },
			func(w *world) { w.wantStripped() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				test.objects(w)
				w.start()
				w.wantValid("web")
				w.edit("web", writesTo("moved"))
				w.settle()
				w.wantValid("moved")
				test.check(w)
			})
		})
	}
}

// A copy by kubectl get -o yaml, or of a tool that clones namespaces, carries our annotations and the owner reference along.
func TestACopyOfTheSecretIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		original := w.secret("web")
		w.create(&corev1.Secret{Data: original.Data, ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "copy", Labels: original.Labels, Annotations: original.Annotations, OwnerReferences: original.OwnerReferences,
		}})
		w.pass(time.Hour)
		if w.secret("copy") == nil {
			t.Error("the copy was deleted")
		}
		w.wantMints(1)
	})
}

func TestADeletedObjectTakesItsSecretAlongUnlessItIsRetained(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"), newToken("kept", retained))
		w.start()
		w.remove(w.token("web"))
		w.remove(w.token("kept"))
		w.pass(time.Hour)
		if w.secret("web") != nil {
			t.Error("the Secret came back")
		}
		w.wantValid("kept")
		if owners := w.secret("kept").OwnerReferences; len(owners) != 0 {
			t.Errorf("the Secret that is to stay has the owners %v", owners)
		}
		w.wantMints(2)
		w.create(newToken("kept"))
		w.settle()
		w.wantMints(2) // its token is as good as a new one
		w.want("kept", "Ready=True/TokenValid")
		w.wantAsAsked("kept")
	})
}

// Garbage collection is told of before the deletion that caused it.
func TestASecretThatWentWithItsObjectIsNotWrittenAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.KindLag["ReactorToken"] = w.api.CacheLag + 10*time.Second
		w.create(newToken("web"))
		w.start()
		w.pass(10 * time.Second)
		w.remove(w.token("web"))
		w.pass(time.Minute)
		w.wantMints(1)
		if w.secret("web") != nil {
			t.Error("the Secret came back")
		}
	})
}

func TestAnObjectThatIsBeingDeletedGetsNoToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", func(token *v1alpha1.ReactorToken) { token.Finalizers = []string{"example.com/slow"} }))
		if err := w.api.Delete(t.Context(), w.token("web")); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.pass(time.Hour)
		w.wantMints(0)
	})
}

func TestOfTwoWithOneSecretTheOlderKeepsIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("older", writesTo("shared")))
		w.pass(time.Second)
		w.create(newToken("newer", writesTo("shared")))
		w.start()
		w.wantValid("shared")
		w.want("older", "Ready=True/TokenValid")
		w.want("newer", "Ready=False/SecretClaimed", "Renewed=False/SecretClaimed", "Stalled=True/SecretClaimed")
		w.pass(24 * time.Hour)
		if got := w.count("newer", "TokenIssued"); got != 0 {
			t.Errorf("the newer one wrote %d tokens", got)
		}
		if got := w.mints(); got > 8 {
			t.Errorf("%d mints in a day", got)
		}
		w.remove(w.token("older"))
		w.settle()
		w.want("newer", "Ready=True/TokenValid", "Stalled=")
		w.wantValid("shared")
	})
}

func TestWhoeverWritesASecretKeepsItFromALatecomer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("first", writesTo("shared")))
		w.start()
		w.create(newToken("second", writesTo("own")))
		w.settle()
		w.edit("second", writesTo("shared"))
		w.settle()
		w.want("first", "Ready=True/TokenValid")
		w.want("second", "Ready=False/SecretClaimed")
		w.wantValid("own") // its own stays until it has another

		w.edit("first", writesTo("elsewhere"))
		w.settle()
		w.want("first", "Ready=True/TokenValid")
		w.want("second", "Ready=True/TokenValid")
		w.wantValid("elsewhere")
		w.wantValid("shared")
		if w.secret("own") != nil {
			t.Error("the Secret of its earlier name is still there")
		}
	})
}

// The older one has no Secret whose events would tell of the end of its claim.
func TestTheEndOfAClaimIsNoticed(t *testing.T) {
	suspended := func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }
	for name, end := range map[string]func(w *world){
		"when its object is deleted":            func(w *world) { w.remove(w.token("older")) },
		"when its object turns to another name": func(w *world) { w.edit("older", writesTo("elsewhere")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("older", writesTo("shared"), suspended))
				w.pass(time.Second)
				w.create(newToken("newer", writesTo("shared")))
				w.start()
				w.want("older", "Ready=False/Suspended")
				w.want("newer", "Ready=False/SecretClaimed")
				w.wantMints(0)
				end(w)
				w.settle()
				w.want("newer", "Ready=True/TokenValid")
			})
		})
	}
}

func TestClaimant(t *testing.T) {
	at := func(second int, name, uid string) v1alpha1.ReactorToken {
		token := *newToken(name)
		token.CreationTimestamp, token.UID = metav1.Unix(int64(second), 0), types.UID(uid)
		return token
	}
	leaving := at(1, "leaving", "l")
	leaving.DeletionTimestamp = new(metav1.Unix(2, 0))
	tests := []struct {
		name   string
		rivals []v1alpha1.ReactorToken
		writer string
		want   string
	}{
		{name: "alone it has the right", want: ""},
		{name: "it is no rival of itself", rivals: []v1alpha1.ReactorToken{at(1, "me", "m")}, want: ""},
		{name: "an older one comes first", rivals: []v1alpha1.ReactorToken{at(5, "older", "o")}, want: "older"},
		{name: "the oldest of several comes first", rivals: []v1alpha1.ReactorToken{at(5, "older", "o"), at(4, "oldest", "x"), at(6, "old", "y")}, want: "oldest"},
		{name: "a younger one does not", rivals: []v1alpha1.ReactorToken{at(15, "younger", "y")}, want: ""},
		{name: "within one second the smaller UID comes first", rivals: []v1alpha1.ReactorToken{at(10, "twin", "a")}, want: "twin"},
		{name: "within one second the larger UID does not", rivals: []v1alpha1.ReactorToken{at(10, "twin", "z")}, want: ""},
		{name: "who writes it already comes before the older", rivals: []v1alpha1.ReactorToken{at(5, "older", "o"), at(20, "writer", "w")}, writer: "writer", want: "writer"},
		{name: "a writer that is gone does not count", rivals: []v1alpha1.ReactorToken{at(15, "younger", "y")}, writer: "gone", want: ""},
		{name: "one that is being deleted does not count", rivals: []v1alpha1.ReactorToken{leaving}, writer: "leaving", want: ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			me := at(10, "me", "m")
			if diff := cmp.Diff(test.want, claimant(&me, test.rivals, test.writer)); diff != "" {
				t.Errorf("claimant (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheTargetMayNotBeTheKeysSecret(t *testing.T) {
	inWorld(t, func(w *world) { // CEL refuses this; an object that slipped through must not spoil the key
		w.create(newToken("web", writesTo(keySecret)))
		w.start()
		w.want("web", "Ready=False/SecretNotOwned")
		if got := w.secret(keySecret); len(got.Data) != 1 || got.Type != corev1.SecretTypeOpaque {
			t.Error("the key's Secret was changed")
		}
	})
}
