package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestStateStartsAgainForANewObjectOfTheSameName(t *testing.T) {
	m := newStateStore()
	first := aToken()
	first.Status.SecretName, first.Status.SecretResourceVersion = "web", "7"
	known := m.of(first)
	if diff := cmp.Diff(checkedSecret{"web", "7"}, known.secret, cmp.AllowUnexported(checkedSecret{})); diff != "" {
		t.Errorf("what status knows is not remembered (-want +got):\n%s", diff)
	}
	if m.of(first) != known {
		t.Error("the second look is at another memory")
	}
	second := aToken()
	second.UID = "another"
	if m.of(second) == known {
		t.Error("a new object has the memory of the old one")
	}
	m.forget(client.ObjectKeyFromObject(second))
	if len(m.objects) != 0 {
		t.Error("what is gone is remembered")
	}
}

func TestABudgetIsSpentAndRefills(t *testing.T) {
	budget := newStateStore().of(aToken()).budget
	for i := range budgetBurst {
		if until := spentUntil(budget, noon); !until.IsZero() {
			t.Errorf("after %d mints the budget is spent until %s", i, until)
		}
		budget.AllowN(noon, 1)
	}
	until := spentUntil(budget, noon)
	if diff := cmp.Diff(noon.Add(budgetRefill), until); diff != "" {
		t.Errorf("spent until (-want +got):\n%s", diff)
	}
	if nextTry := spentUntil(budget, until); !nextTry.IsZero() {
		t.Errorf("at the instant that was named it is spent until %s", nextTry)
	}
	if early := spentUntil(budget, until.Add(-time.Second)); !early.Equal(until) {
		t.Errorf("a second before it is spent until %s", early)
	}
}

func TestTheTimeOfReceiptIsOfTheTokenThatWasReceived(t *testing.T) {
	known := received{"token-1", noon}
	for name, test := range map[string]struct {
		of   *targetsecret.Record
		want time.Time
	}{
		"that one":        {&targetsecret.Record{TokenID: "token-1"}, noon},
		"of another":      {&targetsecret.Record{TokenID: "token-2"}, time.Time{}},
		"without a token": {nil, time.Time{}},
	} {
		if got := known.at(test.of); !got.Equal(test.want) {
			t.Errorf("%s: received at %s", name, got)
		}
	}
}
