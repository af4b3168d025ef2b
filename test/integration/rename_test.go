package integration

import (
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// into names the target Secret.
func into(secret string) edit {
	return func(token *v1alpha1.ReactorToken) { token.Spec.Secret.Name = secret }
}

func TestAnotherSecretNameMovesTheTokenAndTheOldSecretGoesLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	token := w.create("web", into("old"))
	old := w.waitUntilReady("web")
	write := w.api.stopNext(t, writeOf(http.MethodPost, "secrets"))
	w.edit("web", into("new"))
	write.waitUntilReached("the write of the new Secret")
	if err := w.checkSecret(w.secret("old")); err != nil {
		t.Error("the old Secret, while the new one is not there:", err)
	}
	write.goOn(letPass)
	w.waitUntilGone(old)
	w.settle(o)
	if secret := w.waitUntilReady("web"); secret.Name != "new" {
		t.Errorf("the token is in Secret %s", secret.Name)
	}
	w.waitForEvent(token.UID, "SecretRemoved")
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want one for each Secret", mints)
	}
}

func TestANameThatChangesWhileTheOperatorIsAwayLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web", into("old"))
	old := w.waitUntilReady("web")
	o.kill()
	w.edit("web", into("new"))
	w.start()
	w.waitUntilGone(old)
	if secret := w.waitUntilReady("web"); secret.Name != "new" {
		t.Errorf("the token is in Secret %s", secret.Name)
	}
}

func TestOfTwoReactorTokensWithOneSecretTheOlderKeepsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	older := w.create("older", into("shared"))
	secret := w.waitUntilReady("older")
	younger := w.create("younger", into("shared"))
	token := w.waitForCondition("younger", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretClaimed)
	if message := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, `"older"`) {
		t.Errorf("the condition does not name the other: %s", message)
	}
	w.waitForEvent(younger.UID, v1alpha1.ReasonSecretClaimed)
	w.requestRenewal("younger", "now")
	w.settle(o)
	if after := w.secret("shared"); after.ResourceVersion != secret.ResourceVersion {
		t.Error("the younger has written the Secret")
	}
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}

	// The younger's turn comes when the older goes, and with it its Secret.
	w.deleteObject(older)
	w.waitForAnother("younger", idOf(secret))
	w.collectGarbage()
	w.settle(o)
	after := w.waitUntilReady("younger")
	if owner := metav1.GetControllerOf(after); owner == nil || owner.UID != younger.UID {
		t.Errorf("the Secret's owner is %v", owner)
	}
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want one for each", mints)
	}
}

func TestOfTwoReactorTokensThatTheOperatorMeetsTogetherOneGetsTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := []string{"one", "other"}
	for _, name := range names {
		w.create(name, into("shared"))
	}
	o := w.start()
	expect.Eventually(t, "one ready, one claimed", func() error {
		reasons := map[string]int{}
		for _, name := range names {
			if ready := meta.FindStatusCondition(w.token(name).Status.Conditions, v1alpha1.ConditionReady); ready != nil {
				reasons[ready.Reason]++
			}
		}
		return differ("reasons", map[string]int{v1alpha1.ReasonTokenValid: 1, v1alpha1.ReasonSecretClaimed: 1}, reasons)
	})
	w.settle(o)
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}

	// The one that moves away makes room for the other.
	winner, loser := names[0], names[1]
	if meta.IsStatusConditionFalse(w.token(winner).Status.Conditions, v1alpha1.ConditionReady) {
		winner, loser = loser, winner
	}
	w.edit(winner, into("own"))
	for _, name := range []string{winner, loser} {
		w.waitUntilReady(name)
	}
	if got := w.token(winner).Status.SecretName; got != "own" {
		t.Errorf("the one that moved has its token in Secret %s", got)
	}
}
