package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// away fails the calls of a verb and kind, and of a name if there is one.
func away(at call) func(call, func() error) error {
	return func(made call, do func() error) error {
		if made.Verb == at.Verb && made.Kind == at.Kind && (at.Name == "" || made.Name == at.Name) {
			return errAway
		}
		return do()
	}
}

// What cannot be read is neither taken for missing nor for good: the pass ends, and the queue tries again.
func TestAReadThatFailsDecidesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		at     call
		change func(w *world)
		mints  int
	}{
		"of the key": {call{Verb: "get", Kind: "Secret", Name: keySecret}, func(w *world) { w.rotate(secondKey) }, 2},
		"of the target": {call{Verb: "get", Kind: "Secret", Name: "web"}, func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = nil })
		}, 2},
		"of the target that only drifted": {call{Verb: "get", Kind: "Secret", Name: "web"}, func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Data, targetsecret.ExpiresAtKey) })
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				before := w.transitions("web")
				w.api.MeddleWith(away(test.at))
				test.change(w)
				writes := w.api.Writes()
				w.pass(10 * time.Minute)
				w.wantMints(1)
				if got := w.api.Writes(); got != writes {
					t.Errorf("%d writes", got-writes)
				}
				if got := w.transitions("web"); got["Ready"] != before["Ready"] || got["Renewed"] != before["Renewed"] {
					t.Errorf("conditions %v, and before %v", got, before)
				}
				w.api.MeddleWith(nil)
				w.pass(retryCap)
				w.wantMints(test.mints)
				w.wantValid("web")
			})
		})
	}
}

// minterAfter calls Reactor after something else has happened.
type minterAfter struct {
	Minter
	before func()
}

func (m minterAfter) Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error) {
	m.before()
	return m.Minter.Mint(ctx, request)
}

// The key is replaced in its Secret and revoked at Reactor while a mint uses it, and the watch lags by far.
func TestAKeyThatIsReplacedAndRevokedUnderAMintIsNotReportedAsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		names := []string{"web-0", "web-1", "web-2"}
		for _, name := range names {
			w.create(newToken(name))
		}
		w.api.CacheLag = time.Minute
		var once sync.Once
		w.tune = func(o *Options) {
			o.Minter = minterAfter{o.Minter, func() {
				once.Do(func() {
					w.rotate(secondKey)
					w.reactor.RevokeKey(firstKey)
				})
			}}
		}
		w.start()
		for _, name := range names {
			w.want(name, "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
			w.wantValid(name)
			if secret := w.secret(name); secret != nil && secret.Annotations[v1alpha1.KeyFingerprintAnnotation] != apikey.FingerprintOf(secondKey) {
				t.Errorf("the record of %s does not name the new key", name)
			}
			if diff := cmp.Diff([]string{"TokenIssued"}, w.eventsOf(name)); diff != "" {
				t.Errorf("events of %s (-want +got):\n%s", name, diff)
			}
		}
		if got := w.attemptsOf(firstKey); got != 1 {
			t.Errorf("%d requests with the old key, want 1", got)
		}
		w.pass(2 * time.Minute) // until the watch shows the new version
		w.wantMints(len(names))
	})
}

// The refusal of a key that is still in its Secret is reported, and costs one read of it.
func TestARefusedKeyIsReadAgainBeforeItIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.reactor.RevokeKey(firstKey)
		w.start()
		w.want("web", "Ready=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
		if got := w.api.Asked(call{Verb: "get", Kind: "Secret", Name: keySecret}); got != 2 {
			t.Errorf("%d reads of the key, want one for the mint and one after its refusal", got)
		}
	})
}

func TestAKeyIsReadOnceForAllItsMints(t *testing.T) {
	inWorld(t, func(w *world) {
		const count = 20
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 1000, 1000 }
		w.workers = 8
		w.api.MeddleWith(func(_ call, do func() error) error {
			time.Sleep(100 * time.Millisecond) // so that many reconciles need the key before the first read of it has returned
			return do()
		})
		keyReads := func() int { return w.api.Asked(call{Verb: "get", Kind: "Secret", Name: keySecret}) }
		createMany := func(name string) {
			for i := range count {
				w.create(newToken(fmt.Sprintf("%s-%d", name, i)))
			}
		}
		createMany("first")
		w.start()
		w.pass(30 * time.Second)
		w.wantMints(count)
		if got := keyReads(); got != 1 {
			t.Errorf("%d reads of the key for %d mints, want 1", got, count)
		}

		asked := w.api.Asked(call{})
		createMany("second")
		w.pass(10 * time.Second)
		w.wantMints(2 * count)
		if got := w.api.Asked(call{}) - asked; got != 2*count {
			t.Errorf("%d requests for %d mints with a key in memory, want 2 each: the Secret and the status", got, count)
		}

		w.pass(keptFor)
		createMany("third")
		w.pass(10 * time.Second)
		w.wantMints(3 * count)
		if got := keyReads(); got != 2 {
			t.Errorf("%d reads of the key, want another one a minute after its last use", got)
		}
	})
}

// keptFor is how long a key is kept in memory after its last use.
const keptFor = time.Minute

func TestARepairThatIsRefusedKeepsTheTokenReadyAndIsMadeUpFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", dressed))
		w.start()
		w.api.MeddleWith(forbidden)
		w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Labels, "team") })
		w.pass(10 * time.Minute)
		w.want("web", "Ready=True/TokenValid", "Renewed=False/SecretWriteRefused", "Stalled=")
		if got := w.token("web").Status.LastFailure.Message; !strings.HasPrefix(got, "the operator repairs the Secret as soon as the API server accepts it: ") {
			t.Errorf("message %q", got)
		}
		if got := w.api.Asked(call{Verb: "apply", Kind: "Secret"}) + w.api.Asked(call{Verb: "patch", Kind: "Secret"}); got > 20 {
			t.Errorf("%d writes were tried in ten minutes", got)
		}
		w.api.MeddleWith(nil)
		w.pass(writeBackoffCap + time.Second)
		w.wantAsAsked("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		w.wantMints(1)
	})
}

func TestAnOldSecretThatCannotBeRemovedNowIsRemovedLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.api.MeddleWith(away(call{Verb: "delete", Kind: "Secret", Name: "web"}))
		w.edit("web", writesTo("moved"))
		w.pass(10 * time.Minute)
		w.wantValid("moved")
		w.want("web", "Ready=True/TokenValid")
		if w.secret("web") == nil {
			t.Error("the old Secret went, although that failed")
		}
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		if w.secret("web") != nil {
			t.Error("the old Secret is still there")
		}
		w.wantMints(2)
	})
}

func TestPodsThatCannotBeListedNowArePromptedLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(podWith("mounts", mounting("web")), newToken("web", prompt))
		w.api.MeddleWith(away(call{Verb: "list", Kind: "Pod"}))
		w.start()
		w.want("web", "Ready=True/TokenValid")
		w.api.MeddleWith(away(call{Verb: "patch", Kind: "Pod", Name: "mounts"}))
		w.pass(20 * time.Second)
		w.want("web", "Ready=True/TokenValid")
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		if got := w.promptedPods()["mounts"]; got != w.tokenID() {
			t.Errorf("the pod was told of the token %q", got)
		}
		w.wantMints(1)
	})
}

// By then the kubelet has handed the token out by itself.
func TestPodsThatCannotBePromptedForTooLongAreNotPromptedAnyMore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(podWith("mounts", mounting("web")), newToken("web", prompt))
		w.api.MeddleWith(away(call{Verb: "list", Kind: "Pod"}))
		w.start()
		w.pass(2*rollout.KubeletRefresh + retryCap)
		if got := w.token("web").Status.DeliveredTokenID; got != w.tokenID() {
			t.Errorf("status calls token %q delivered", got)
		}
		asked := w.api.Asked(call{Verb: "list", Kind: "Pod"})
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "list", Kind: "Pod"}); got != asked {
			t.Errorf("pods were listed %d times more", got-asked)
		}
	})
}

func TestAnInvalidSelectorIsReportedAndDelaysNothingElse(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", func(token *v1alpha1.ReactorToken) {
			token.Spec.PromptDelivery = &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near"}}}}
		}))
		w.start()
		w.want("web", "Ready=True/TokenValid")
		if got := w.count("web", "PodSelectorInvalid"); got != 1 {
			t.Errorf("it was told %d times", got)
		}
	})
}

// Leader election keeps one operator at work at a time, but for a moment two may believe that they lead.
func TestTwoOperatorsAtOnceDoNoHarm(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.reactor.SetFaults(emulator.Fault{Latency: time.Second}) // so that they do everything at the same time
		w.start()
		first := w.run
		w.run = nil
		w.start()
		defer func() {
			if err := first.Stop(); err != nil {
				t.Error(err)
			}
		}()
		w.pass(3 * time.Hour)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		if got := w.mints(); got > 2*6 {
			t.Errorf("%d mints in three hours of tokens that live one", got)
		}
	})
}

// An installation whose Role does not allow to get Secrets, although it allows to list and watch them.
func TestAReadThatIsRefusedIsReportedInAConditionAndAnEvent(t *testing.T) {
	refuse := func(name string) func(call, func() error) error {
		return func(made call, do func() error) error {
			if made.Verb == "get" && made.Kind == "Secret" && made.Name == name {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, made.Name, errors.New("no Role allows it"))
			}
			return do()
		}
	}
	t.Run("before there is a token", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.api.MeddleWith(refuse(keySecret))
			w.create(newToken("web"))
			w.start()
			w.want("web", "Ready=False/ReadRefused", "Renewed=False/ReadRefused", "Stalled=True/ReadRefused")
			writes := w.api.Writes()
			w.pass(time.Hour)
			if got := w.api.Writes(); got != writes {
				t.Errorf("%d more writes while nothing changes", got-writes)
			}
			if diff := cmp.Diff([]string{"ReadRefused"}, w.eventsOf("web")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			w.api.MeddleWith(nil)
			w.pass(retryCap)
			w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
		})
	})
	t.Run("when the key is used again", func(t *testing.T) { // the plain key is not kept, and the fingerprint is
		inWorld(t, func(w *world) {
			w.create(newToken("web", lifetime("1h")))
			w.start()
			expiry := w.token("web").Status.ExpirationTime.Time
			w.api.MeddleWith(refuse(keySecret))
			w.passUntil(expiry.Add(-5 * time.Minute))
			w.want("web", "Ready=True/TokenValid", "Renewed=False/ReadRefused", "Stalled=")
			w.passUntil(expiry.Add(retryCap + time.Second))
			w.want("web", "Ready=False/TokenExpired", "Renewed=False/ReadRefused", "Stalled=True/ReadRefused")
			w.api.MeddleWith(nil)
			w.pass(retryCap)
			w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
		})
	})
	t.Run("while there is one, until it expires", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.create(newToken("web", lifetime("1h")))
			w.start()
			expiry := w.token("web").Status.ExpirationTime.Time
			w.api.MeddleWith(refuse("web"))
			w.editSecret("web", func(secret *corev1.Secret) { metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "example.com/note", "x") })
			w.settle()
			w.want("web", "Ready=True/TokenValid", "Renewed=False/ReadRefused", "Stalled=")
			w.passUntil(expiry.Add(retryCap + time.Second))
			w.want("web", "Ready=False/TokenExpired", "Renewed=False/ReadRefused", "Stalled=True/ReadRefused")
			w.api.MeddleWith(nil)
			w.pass(retryCap)
			w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
		})
	})
}
