package reactortoken

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// An operator that starts with many ReactorTokens whose Secrets it has to read, and with one that was created while it was down.
func TestATokenThatIsDueAtTheStartDoesNotWaitForTheOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		const idle = 200
		for i := range idle {
			w.create(newToken(fmt.Sprintf("a-%d", i)))
		}
		w.start()
		w.pass(time.Minute)
		w.stop()
		for i := range idle {
			w.editSecret(fmt.Sprintf("a-%d", i), func(secret *corev1.Secret) { metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "example.com/note", "x") })
		}
		w.create(newToken("z-new"))
		w.api.MeddleWith(func(_ call, do func() error) error {
			time.Sleep(time.Second)
			return do()
		})
		w.start()
		w.pass(10 * time.Second) // 200 reads by two workers take 100
		w.want("z-new", "Ready=True/TokenValid")
		if got := w.api.Asked(call{Verb: "get", Kind: "Secret"}); got > idle {
			t.Errorf("%d Secrets were read by then: this test shows nothing", got)
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
