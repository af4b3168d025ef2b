package reactortoken

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// fight undoes in the Secret what the operator did, soon after it did so, as a second writer does.
func (w *world) fight(d time.Duration, undone func(*corev1.Secret) bool, undo func(*corev1.Secret)) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); w.pass(time.Second) {
		if secret := w.secret("web"); secret != nil && !undone(secret) {
			w.editSecret("web", undo)
		}
	}
}

func TestAFightOverTheTokenCostsFewMints(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.fight(
			time.Hour,
			func(secret *corev1.Secret) bool { return string(secret.Data[targetsecret.JWTKey]) == "theirs" },
			func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = []byte("theirs") },
		)
		if got, maxMints := w.mints(), budgetBurst+int(time.Hour/budgetRefill)+1; got > maxMints || got < maxMints-3 {
			t.Errorf("%d mints in an hour of fighting, want about %d", got, maxMints)
		}
		w.want("web", "Ready=False/MintBudgetSpent", "Renewed=False/MintBudgetSpent", "Stalled=")
		if w.token("web").Status.NextAttemptTime == nil {
			t.Error("status does not say when it goes on")
		}
		w.pass(budgetRefill + time.Second) // the other writer has given up
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}

func TestAFightOverALabelCostsFewWritesAndNoMint(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", dressed))
		w.start()
		w.fight(
			10*time.Minute,
			func(secret *corev1.Secret) bool { return secret.Labels["team"] == "theirs" },
			func(secret *corev1.Secret) { secret.Labels["team"] = "theirs" },
		)
		w.wantMints(1)
		maxWrites := repairBurst + int(10*time.Minute/repairRefill) + 1
		if got := w.api.Asked(call{Verb: "apply", Kind: "Secret"}); got > maxWrites || got < maxWrites/2 {
			t.Errorf("%d writes in ten minutes of fighting, want at most %d", got, maxWrites)
		}
		w.want("web", "Ready=True/TokenValid", "Renewed=False/SecretContested", "Stalled=")
		if emitted := w.eventsOf("web"); len(emitted) > 4+repairBurst || w.count("web", v1alpha1.ReasonSecretContested) != 1 {
			t.Errorf("one fight caused the events %q", emitted)
		}
		w.pass(repairCalm*repairRefill + repairRefill + time.Second)
		w.wantAsAsked("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}

func TestRenewalsSpendNoBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1m")))
		w.start()
		w.pass(30 * time.Minute)
		if got := w.mints(); got < 40 {
			t.Errorf("%d mints in half an hour of tokens that live a minute", got)
		}
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		if got := w.count("web", v1alpha1.ReasonMintBudgetSpent); got != 0 {
			t.Errorf("a spent budget was told %d times", got)
		}
	})
}

func TestASpentBudgetDoesNotHoldBackARenewal(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1m")))
		w.start()
		for range budgetBurst {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = []byte("theirs") })
			w.settle()
		}
		w.want("web", "Ready=False/MintBudgetSpent")
		w.pass(budgetRefill)
		w.want("web", "Ready=True/TokenValid")
		mints := w.mints()
		w.pass(budgetRefill - time.Minute)
		if got := w.mints(); got <= mints {
			t.Error("no renewal came through")
		}
		w.wantValid("web")
	})
}
