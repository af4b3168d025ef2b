package reactortoken

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestAnHourOfRefusedWritesCostsOneMint(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(forbidden)
		w.create(newToken("web"))
		w.start()
		w.pass(time.Hour)
		w.wantMints(1)
		w.want("web", "Ready=False/SecretWriteRefused", "Renewed=False/SecretWriteRefused", "Stalled=")
		if got := w.api.Asked(call{Verb: "create"}); got < 50 || got > 80 {
			t.Errorf("%d writes were tried in an hour", got)
		}
		if got := w.token("web").Status.LastFailure.Message; !strings.HasPrefix(got, "the token is kept in memory until the API server accepts it: ") {
			t.Errorf("message %q", got)
		}
		if got := w.count("web", "SecretWriteRefused"); got != 1 {
			t.Errorf("the refusal was told %d times", got)
		}
		w.api.MeddleWith(nil)
		w.pass(writeBackoffCap + time.Second)
		w.wantMints(1)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}

func TestARenewalWhoseWriteIsRefusedKeepsTheOldTokenAndMintsOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		status := w.token("web").Status
		w.api.MeddleWith(forbidden)
		w.passUntil(status.ExpirationTime.Add(-time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=False/SecretWriteRefused")
		w.wantMints(2)
		w.pass(2 * time.Second)
		w.want("web", "Ready=False/TokenExpired", "Renewed=False/SecretWriteRefused")
		w.api.MeddleWith(nil)
		w.pass(writeBackoffCap + time.Second)
		w.wantMints(2)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}

func TestATokenThatExpiresUnwrittenIsReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(forbidden)
		w.create(newToken("web", lifetime("10m")))
		w.start()
		w.pass(time.Hour)
		if got := w.mints(); got < 6 || got > 7 {
			t.Errorf("%d mints in an hour of tokens that live 10 minutes and are never written", got)
		}
		w.api.MeddleWith(nil)
		w.pass(writeBackoffCap + time.Second)
		w.wantValid("web")
	})
}

func TestATokenThatIsNotWantedAnyMoreIsNotWritten(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"another key":      func(w *world) { w.rotate(secondKey) },
		"another lifetime": func(w *world) { w.edit("web", lifetime("2h")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.api.MeddleWith(forbidden)
				w.create(newToken("web"))
				w.start()
				w.api.MeddleWith(nil)
				change(w)
				w.settle()
				w.wantMints(2)
				w.wantValid("web")
				if secret := w.secret("web"); secret != nil && string(secret.Data[targetsecret.JWTKey]) != w.reactor.IssuedJWTs()[1] {
					t.Error("the Secret holds the token that was asked for before the change")
				}
			})
		})
	}
}

// The API server is away, or its answers are lost: the queue tries again, and Reactor is not asked for it.
func TestAnAPIServerThatIsAwayCostsNoMints(t *testing.T) {
	for name, meddle := range map[string]func(call, func() error) error{
		"for writes of Secrets": func(made call, do func() error) error {
			if made.Kind == "Secret" && made.Writes() {
				return errAway
			}
			return do()
		},
		"for all writes": func(made call, do func() error) error {
			if made.Writes() {
				return errAway
			}
			return do()
		},
		"for the answers of writes": func(made call, do func() error) error {
			if err := do(); err != nil || !made.Writes() {
				return err
			}
			return apierrors.NewTimeoutError("the answer was lost", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.api.MeddleWith(meddle)
				w.create(newToken("web"))
				w.start()
				w.pass(time.Hour)
				w.wantMints(1)
				if got := w.api.Asked(call{Verb: "create"}); got > 80 {
					t.Errorf("%d writes were tried in an hour", got)
				}
				w.api.MeddleWith(nil)
				w.pass(retryCap)
				w.wantMints(1)
				w.wantValid("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")

				applied := w.api.Asked(call{Verb: "apply", Kind: "Secret", Name: "web"})
				w.passUntil(w.token("web").Status.RenewalTime.Add(time.Minute))
				w.wantMints(2)
				w.wantValid("web")
				if got := w.api.Asked(call{Verb: "apply", Kind: "Secret", Name: "web"}) - applied; got != 1 {
					t.Errorf("%d writes for one renewal: a token that had been written was held", got)
				}
				if issued := w.count("web", "TokenIssued"); issued > 2 {
					t.Errorf("%d tokens were told of", issued)
				}
			})
		})
	}
}

func TestASecretThatAppearsBeforeTheFirstWriteIsNotOverwritten(t *testing.T) {
	inWorld(t, func(w *world) {
		meddled := false
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "create" && !meddled {
				meddled = true
				w.create(secretIn(namespace, "web", "jwt", "somebody else's"))
			}
			return do()
		})
		w.create(newToken("web"))
		w.start()
		w.want("web", "Ready=False/SecretNotOwned", "Stalled=True/SecretNotOwned")
		if got := w.secret("web").Data["jwt"]; !bytes.Equal(got, []byte("somebody else's")) {
			t.Error("it was overwritten")
		}
		w.remove(w.secret("web"))
		w.settle()
		w.wantMints(1)
		w.wantValid("web")
	})
}

func TestASecretThatChangesDuringAWriteIsReadAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		meddled := false
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "apply" && made.Kind == "Secret" && !meddled {
				meddled = true
				w.editSecret("web", func(secret *corev1.Secret) { secret.Data["theirs"] = []byte("kept") })
			}
			return do()
		})
		w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
		w.wantMints(2)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		if got := string(w.secret("web").Data["theirs"]); got != "kept" {
			t.Errorf("a foreign key became %q", got)
		}
	})
}

func TestATargetThatIsBeingDeletedIsCreatedAgainAfterItsDeletion(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.editSecret("web", func(secret *corev1.Secret) { secret.Finalizers = []string{"example.com/slow"} })
		w.settle()
		w.remove(w.secret("web"))
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Renewed=False/"+v1alpha1.ReasonSecretTerminating)
		w.editSecret("web", func(secret *corev1.Secret) { secret.Finalizers = nil })
		w.settle()
		w.wantMints(2)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}
