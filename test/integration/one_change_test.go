package integration

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// change is something that a person does to a ReactorToken, or around it.
type change struct {
	name string // also of the ReactorToken
	do   func(w *world, token string)
}

// oneMint are the changes that make a new token necessary.
var oneMint = []change{
	{"another-lifetime", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.Lifetime = "2h" })
	}},
	{"another-scope", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.Scope.MaxSessions = 7 })
	}},
	{"a-request-to-renew", func(w *world, token string) { w.requestRenewal(token, "now") }},
	{"a-deleted-secret", func(w *world, token string) { w.deleteObject(w.secret(token)) }},
	{"an-edited-token", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) { s.Data["jwt"] = []byte("something else") })
	}},
	{"a-token-that-was-taken-out", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) { delete(s.Data, "jwt") })
	}},
	{"an-edited-expiry-of-the-record", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) { s.Annotations[v1alpha1.ExpiresAtAnnotation] = "2099-01-01T00:00:00Z" })
	}},
	{"another-key", func(w *world, token string) {
		key := newKey()
		w.reactor.AddKey(key)
		w.editSecret(token+"-key", func(s *corev1.Secret) { s.Data["api-key"] = []byte(key) })
	}},
	{"a-key-secret-that-was-replaced", func(w *world, token string) {
		key := newKey()
		w.reactor.AddKey(key)
		w.deleteObject(w.secret(token + "-key"))
		w.createKeySecret(token+"-key", key)
	}},
}

// noMint are the changes that do not. Some of them change the Secret around its token.
var noMint = []change{
	{"a-label", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Labels = map[string]string{"team": "web"} })
	}},
	{"an-annotation", func(w *world, token string) { w.edit(token, annotate("example.com/note", "hello")) }},
	{"a-finalizer", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Finalizers = []string{"example.com/keep"} })
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Finalizers = nil })
	}},
	{"another-renew-before", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.RenewBefore = "2m" })
	}},
	{"models-in-another-order", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { slices.Reverse(t.Spec.Scope.Models) })
	}},
	{"a-pause", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.Suspend = new(true) })
		w.waitForCondition(token, v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSuspended)
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.Suspend = nil })
		w.waitForCondition(token, v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	}},
	{"labels-and-keys-of-the-secret", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) {
			t.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "web"}
			t.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{{Name: "token.json", Format: v1alpha1.FormatJSON}}
		})
	}},
	{"retention", func(w *world, token string) {
		w.edit(token, func(t *v1alpha1.ReactorToken) { t.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain })
	}},
	{"others-writing-into-the-secret", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) {
			s.Data["theirs"] = []byte("x")
			s.Labels["theirs"] = "x"
			s.Annotations["theirs"] = "x"
		})
	}},
	{"our-label-edited", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) { s.Labels["app.kubernetes.io/managed-by"] = "somebody" })
	}},
	{"expires-at-edited", func(w *world, token string) {
		w.editSecret(token, func(s *corev1.Secret) { s.Data["expires_at"] = []byte("0") })
	}},
	{"metadata-of-the-key", func(w *world, token string) {
		w.editSecret(token+"-key", func(s *corev1.Secret) { s.Labels = map[string]string{"team": "web"} })
	}},
	{"another-value-beside-the-key", func(w *world, token string) {
		w.editSecret(token+"-key", func(s *corev1.Secret) { s.Data["note"] = []byte("x") })
	}},
	{"a-newline-after-the-key", func(w *world, token string) {
		w.editSecret(token+"-key", func(s *corev1.Secret) { s.Data["api-key"] = append(s.Data["api-key"], '\n') })
	}},
}

func TestOneChangeCostsOneMint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	ids := w.createEach(oneMint)
	for _, c := range oneMint {
		c.do(w, c.name)
	}
	for _, c := range oneMint {
		w.waitForAnother(c.name, ids[c.name])
	}
	w.settle(o)
	for _, c := range oneMint {
		if got := w.mintsOf(c.name) - 1; got != 1 {
			t.Errorf("%s cost %d mints", c.name, got)
		}
	}
}

func TestNoOtherChangeMints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	ids := w.createEach(noMint)
	for _, c := range noMint {
		c.do(w, c.name)
	}
	w.settle(o)
	for _, c := range noMint {
		if got := w.mintsOf(c.name) - 1; got != 0 {
			t.Errorf("%s cost %d mints", c.name, got)
		}
		if secret := w.waitUntilReady(c.name); idOf(secret) != ids[c.name] {
			t.Errorf("%s: the token is another", c.name)
		}
	}
}

func TestASecretThatIsDeletedAgainAndAgainCostsNoMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	token := w.create("web")
	expect.Eventually(t, "the operator to spend no more", func() error {
		err := checkCondition(w.token("web"), v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMintBudgetSpent)
		if err != nil {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"}}
			return errors.Join(err, client.IgnoreNotFound(w.kube.Delete(t.Context(), secret)))
		}
		return nil
	})
	w.waitForEvent(token.UID, v1alpha1.ReasonMintBudgetSpent)
	w.settle(o)
	if mints := w.mints(); mints > 10 {
		t.Errorf("%d mints", mints)
	}
}

// createEach creates a ReactorToken with a key Secret of its own for each change, and returns the ids of their tokens.
func (w *world) createEach(changes []change) map[string]string {
	w.t.Helper()
	for _, c := range changes {
		w.createKeySecret(c.name+"-key", w.key)
		w.create(c.name, func(t *v1alpha1.ReactorToken) {
			t.Spec.APIKeySecretRef.Name = c.name + "-key"
			t.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{modelOf(c.name), "reactor/helios"}}
		})
	}
	ids := map[string]string{}
	for _, c := range changes {
		ids[c.name] = idOf(w.waitUntilReady(c.name))
	}
	return ids
}

func (w *world) createKeySecret(name, key string) {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	secret.StringData = map[string]string{"api-key": key}
	if err := w.kube.Create(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
}

// modelOf is a model by which the ledger tells one ReactorToken's tokens from another's.
func modelOf(token string) v1alpha1.ModelName { return v1alpha1.ModelName("test/" + token) }

// mintsOf is how many tokens a ReactorToken has cost, that has its modelOf in its scope.
func (w *world) mintsOf(token string) int {
	count := 0
	for _, call := range w.reactor.Ledger().Calls {
		if call.JTI != "" && slices.Contains(call.Models, string(modelOf(token))) {
			count++
		}
	}
	return count
}

func TestThreeQuickEditsOfTheKeyCostOneMint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	for round := range 10 {
		name := fmt.Sprintf("round-%d", round)
		ids := w.createEach([]change{{name: name}})
		begin := time.Now()
		pause := time.NewTicker(150 * time.Millisecond) // between the edits of a person in a hurry
		for range 3 {
			key := newKey()
			w.reactor.AddKey(key)
			w.editSecret(name+"-key", func(s *corev1.Secret) { s.Data["api-key"] = []byte(key) })
			<-pause.C
		}
		pause.Stop()
		quick := time.Since(begin) < 800*time.Millisecond // the operator waits a second for a key to stay as it is
		w.waitForAnother(name, ids[name])
		w.settle(o)
		if got := w.mintsOf(name) - 1; quick && got != 1 {
			t.Errorf("three quick edits cost %d mints", got)
		}
		if quick {
			return
		}
	}
	t.Skip("this machine is too busy for quick edits")
}

func TestTheOperatorsOwnStatusWritesWakeNothing(t *testing.T) {
	t.Parallel()
	const count = 20
	w := newWorld(t)
	o := w.start()
	for i := range count {
		name := fmt.Sprintf("web-%d", i)
		w.create(name, func(t *v1alpha1.ReactorToken) { t.Spec.APIKeySecretRef.Name = "none" })
		w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyNotFound)
	}
	// The last one's creation came after the status writes of all the others.
	o.waitUntilIdle(count)
	if passes := o.passes(); passes != count {
		t.Errorf("%d ReactorTokens, each with one status write, took %d passes", count, passes)
	}
}

func TestARenewalCostsTwoRequestsAndWhatItWakesCostsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	first := w.waitUntilReady("web")
	w.settle(o)
	mark := w.api.mark()
	w.requestRenewal("web", "now")
	w.waitForAnother("web", idOf(first))
	w.settle(o)
	var got []string
	for _, r := range w.api.since(mark, func(r request) bool { return r.resource != "events" && !isFence(r.name) }) {
		got = append(got, r.method+" "+r.resource+"/"+r.name+"/"+r.subresource)
	}
	want := []string{
		http.MethodPatch + " secrets/web/",
		http.MethodPut + " reactortokens/web/status",
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests:\n%q\nwant:\n%q", got, want)
	}
}
