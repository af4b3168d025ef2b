package integration

import (
	"context"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func TestAnAppliedReactorTokenGetsATokenThatIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reactor.SetLifetimes(0, 20*time.Second)
	w.start()
	stop := w.watch("web")
	manifest := `
apiVersion: reactor.inc/v1alpha1
kind: ReactorToken
metadata: {name: web, namespace: ` + w.namespace + `}
spec:
  apiKeySecretRef: {name: ` + keySecret + `}
  lifetime: 1m
  renewBefore: 15s
  scope: {models: [reactor/helios], maxSessions: 3}
  secret: {name: web-reactor}
`
	mustKubectl(t, "apply", "-f", writeFile(t, "token.yaml", []byte(manifest)))
	mustKubectl(t, "wait", "--for=condition=Ready", "--timeout="+patience.String(), "--namespace", w.namespace, "reactortoken/web")
	secret := w.waitUntilReady("web")
	for range 2 {
		before := w.token("web").Status
		secret = w.waitForAnother("web", idOf(secret))
		calls := w.reactor.Ledger().Calls
		last := calls[len(calls)-1]
		// The two clocks are compared by a header that has whole seconds.
		if last.Time.Before(before.RenewalTime.Add(-time.Second)) || last.Time.After(before.ExpirationTime.Time) {
			t.Errorf("renewed at %s; it was due at %s and expired at %s", last.Time, before.RenewalTime, before.ExpirationTime)
		}
	}
	token := w.token("web")
	if token.Status.RequestedLifetime != "1m" || token.Status.GrantedLifetime != "20s" {
		t.Errorf("status tells of %s requested and %s granted", token.Status.RequestedLifetime, token.Status.GrantedLifetime)
	}
	if err := checkCondition(token, v1alpha1.ConditionLifetimeClamped, metav1.ConditionTrue, v1alpha1.ReasonShortened); err != nil {
		t.Error("LifetimeClamped:", err)
	}
	claims, err := w.reactor.Verify(string(secret.Data["jwt"]))
	if err != nil || len(claims.AuthorizationDetails) != 1 || claims.AuthorizationDetails[0].Resources.Models.Match[0] != "reactor/helios" {
		t.Errorf("the token's scope is %v: %v", claims.AuthorizationDetails, err)
	}
	w.waitForEvent(token.UID, "TokenIssued")
	for _, seen := range stop() {
		ready := meta.FindStatusCondition(seen.Status.Conditions, v1alpha1.ConditionReady)
		if len(seen.Status.Conditions) > 0 && ready == nil {
			t.Error("a status has no condition Ready")
		}
		if seen.Status.IssuedTime != nil && ready.Status != metav1.ConditionTrue {
			t.Errorf("a token was there, and Ready was %s: %s", ready.Status, ready.Message)
		}
	}
}

func TestATokenThatCannotBeRenewedIsReadyUntilItExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reactor.SetLifetimes(0, 20*time.Second)
	w.start()
	token := w.create("web", func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "15s" })
	secret := w.waitUntilReady("web")
	expires := w.token("web").Status.ExpirationTime
	stop := w.watch("web")
	w.reactor.SetFaults(emulator.Fault{Status: http.StatusServiceUnavailable})
	w.waitForCondition("web", v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonReactorUnavailable)
	last := w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.waitForEvent(token.UID, v1alpha1.ReasonTokenExpired)
	if meta.FindStatusCondition(last.Status.Conditions, v1alpha1.ConditionStalled) != nil {
		t.Error("Stalled, although nobody must act")
	}
	for _, seen := range stop() {
		ready := meta.FindStatusCondition(seen.Status.Conditions, v1alpha1.ConditionReady)
		// The two clocks are compared by a header that has whole seconds.
		if ready.Status != metav1.ConditionTrue && ready.LastTransitionTime.Before(&metav1.Time{Time: expires.Add(-time.Second)}) {
			t.Errorf("Ready is %s since %s, and the token expires at %s", ready.Status, ready.LastTransitionTime, expires)
		}
	}
	if after := w.secret("web"); after.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret has changed")
	}
	if calls := len(w.reactor.Ledger().Calls); calls < 3 {
		t.Errorf("%d calls: it was hardly tried", calls)
	}
	w.reactor.ClearFaults()
	w.waitUntilReady("web")
}

// watch collects all states of a ReactorToken until the returned function is called, which hands them out.
func (w *world) watch(name string) func() []*v1alpha1.ReactorToken {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	watcher, err := w.kube.Watch(ctx, &v1alpha1.ReactorTokenList{}, client.InNamespace(w.namespace),
		&client.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name)})
	if err != nil {
		w.t.Fatal(err)
	}
	states := make(chan []*v1alpha1.ReactorToken)
	go func() {
		var seen []*v1alpha1.ReactorToken
		for event := range watcher.ResultChan() {
			if token, ok := event.Object.(*v1alpha1.ReactorToken); ok {
				seen = append(seen, token)
			}
		}
		states <- seen
	}()
	return func() []*v1alpha1.ReactorToken {
		watcher.Stop()
		cancel()
		return <-states
	}
}
