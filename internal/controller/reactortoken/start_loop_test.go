package reactortoken

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// An API server so slow that the renewals keep all workers busy, and an operator that starts with many ReactorTokens. The one that
// was created while the operator was down, and one whose renewal comes due later, must not wait for the load to end.
func TestUnderLoadATokenThatIsDueIsNotStarvedByTheOnesThatRenew(t *testing.T) {
	inWorld(t, func(w *world) {
		const renewing, idle = 60, 20
		for i := range renewing {
			w.create(newToken(fmt.Sprintf("a-%d", i), lifetime("1m")))
		}
		for i := range idle {
			w.create(newToken(fmt.Sprintf("b-%d", i), lifetime("30m")))
		}
		w.start()
		w.pass(20 * time.Second)
		for i := range idle {
			w.want(fmt.Sprintf("b-%d", i), "Ready=True/TokenValid")
		}
		w.stop()
		w.create(newToken("z-new"))
		w.api.meddleWith(func(made call, do func() error) error {
			time.Sleep(500 * time.Millisecond) // two workers answer one and a third of a renewal a second: less than comes due
			return do()
		})
		w.start()
		w.pass(2 * time.Minute)
		w.want("z-new", "Ready=True/TokenValid")
		w.pass(26 * time.Minute)
		for i := range idle {
			w.want(fmt.Sprintf("b-%d", i), "Ready=True/TokenValid")
		}
	})
}

func TestWhatIsDueWhenTheOperatorStarts(t *testing.T) {
	for name, test := range map[string]struct {
		renewal *metav1.Time
		want    bool
	}{
		"a first token":              {nil, true},
		"a renewal that is due":      {new(metav1.NewTime(noon)), true},
		"a renewal that comes later": {new(metav1.NewTime(noon.Add(time.Second))), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := dueAtStart(&v1alpha1.ReactorTokenStatus{RenewalTime: test.renewal}, clocks{now: noon})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("due (-want +got):\n%s", diff)
			}
		})
	}
}
