package rollout

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// The time for the pods of one reconcile ends while the API server still serves a patch. If pods were annotated before, the next reconcile
// continues immediately. If not, the API server is slow, and the rollout is retried with backoff.
func TestAPatchThatOutlastsTheReconcile(t *testing.T) {
	for slow, wantErr := range map[string]bool{"web-0": true, "web-2": false} {
		t.Run(slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := apimodel.New(apimodel.Options{})
				people := api.Client("people")
				for i := range 3 {
					pod := podWith(mounting("web"))
					pod.Namespace, pod.Name, pod.Labels = "studio", fmt.Sprint("web-", i), map[string]string{"app": "web"}
					status := pod.Status
					if err := people.Create(t.Context(), pod); err != nil {
						t.Fatal(err)
					}
					pod.Status = status
					if err := people.Status().Update(t.Context(), pod); err != nil {
						t.Fatal(err)
					}
				}
				api.SetHook(func(ctx context.Context, asked apimodel.Request, do func() error) error {
					if asked.Verb == apimodel.VerbPatch && asked.Name == slow {
						<-ctx.Done()
						return ctx.Err()
					}
					return do()
				})
				access := api.Client("operator")
				selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
				result := New(Options{Client: access, Pods: access, AllowRefresh: true}).Continue(t.Context(), Input{
					Namespace: "studio", SecretName: "web", TokenID: "token-1", Refresh: &v1alpha1.PromptDelivery{PodSelector: selector}, Now: time.Now(),
				})
				if gotErr := result.Err != nil; gotErr != wantErr || result.Done {
					t.Errorf("done: %v, error: %v, want an error: %v", result.Done, result.Err, wantErr)
				}
				if got := len(result.Requeue); !wantErr && got != 1 {
					t.Errorf("%d requeues, want 1: pods are left", got)
				}
			})
		})
	}
}
