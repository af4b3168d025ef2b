package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// applied are one object of each kind, as a person would apply them.
const applied = `
apiVersion: reactor.inc/v1alpha1
kind: ReactorToken
metadata: {name: web, labels: {team: web}, annotations: {example.com/note: hello}}
spec: {apiKeySecretRef: {name: reactor-api-key}}
---
apiVersion: reactor.inc/v1alpha1
kind: ReactorSession
metadata: {name: web, labels: {team: web}, annotations: {example.com/note: hello}}
spec:
  model: reactor/helios
  apiKeySecretRef: {name: reactor-api-key}
  template: {spec: {containers: [{name: stream, image: example.com/stream}]}}
`

// The operator's cache keeps little of an object's metadata, and it writes statuses from that cache. What is not in the cache must stay in
// the API server, and so must the knowledge of who owns it: kubectl finds out from both what to remove.
func TestMetadataThatTheOperatorDoesNotKeepSurvivesItsWrites(t *testing.T) {
	t.Parallel()
	for way, flags := range map[string][]string{"by the client": {"--server-side=false"}, "by the API server": {"--server-side"}} {
		t.Run("applied "+way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, stderr, ok := kubectl(t, applied, append([]string{"--namespace", w.namespace, "apply", "--filename=-"}, flags...)...)
			if !ok {
				t.Fatal(stderr)
			}
			token, session := w.token("web"), w.session("web")
			w.start()
			id := idOf(w.waitUntilReady("web"))
			w.requestRenewal("web", "now") // a second write, over what the first one made
			w.waitForAnother("web", id)
			w.waitFor("web", "the request to stand in status", func(token *v1alpha1.ReactorToken) error {
				if handled := token.Status.LastHandledRenewRequest; handled != "now" {
					return fmt.Errorf("it is %q", handled)
				}
				return nil
			})
			expect.Eventually(t, "the session to be seen", func() error {
				if meta.FindStatusCondition(w.session("web").Status.Conditions, v1alpha1.ConditionReady) == nil {
					return fmt.Errorf("it has no condition")
				}
				return nil
			})
			for kind, object := range map[string][2]client.Object{"ReactorToken": {token, w.token("web")}, "ReactorSession": {session, w.session("web")}} {
				if diff := cmp.Diff(foreignMetadata(object[0]), foreignMetadata(object[1])); diff != "" {
					t.Errorf("the metadata of the %s (-applied +after the writes):\n%s", kind, diff)
				}
			}
			if _, ok := token.Annotations[corev1.LastAppliedConfigAnnotation]; ok != (way == "by the client") {
				t.Errorf("kubectl left its copy of the manifest: %t", ok)
			}
		})
	}
}

// foreignMetadata is what the operator has no business with: labels, annotations, and who owns them.
func foreignMetadata(object client.Object) any {
	annotations := map[string]string{}
	for name, value := range object.GetAnnotations() {
		if name != v1alpha1.RenewRequestedAtAnnotation {
			annotations[name] = value
		}
	}
	owned := map[string]string{}
	for _, entry := range object.GetManagedFields() {
		if strings.HasPrefix(entry.Manager, "kubectl") {
			owned[entry.Manager+" "+string(entry.Operation)] = entry.FieldsV1.GetRawString()
		}
	}
	return []any{object.GetLabels(), annotations, owned}
}

// session reads a ReactorSession.
func (w *world) session(name string) *v1alpha1.ReactorSession {
	w.t.Helper()
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(session), session); err != nil {
		w.t.Fatal(err)
	}
	return session
}
