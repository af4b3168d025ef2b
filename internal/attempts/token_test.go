package attempts

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestTheHashOfARequestIsTheSameInEachVersion(t *testing.T) {
	session := aSession(func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" })
	token := BuildToken(session, &session.Status, session.Status.CurrentAttempt, Settings{})
	if got, want := RequestHash(&token.Spec), "af086b83c72da7a8cb3bc8c91929854b"; got != want {
		t.Errorf("%s, want %s: sessions that wait would begin again when the operator is upgraded", got, want)
	}
	for name, change := range map[string]func(*v1alpha1.ReactorTokenSpec){
		"apiKeySecretRef.name":     func(s *v1alpha1.ReactorTokenSpec) { s.APIKeySecretRef.Name = "other" },
		"apiKeySecretRef.key":      func(s *v1alpha1.ReactorTokenSpec) { s.APIKeySecretRef.Key = "other" },
		"lifetime":                 func(s *v1alpha1.ReactorTokenSpec) { s.Lifetime = "2h" },
		"scope":                    func(s *v1alpha1.ReactorTokenSpec) { s.Scope = nil },
		"scope.models":             func(s *v1alpha1.ReactorTokenSpec) { s.Scope.Models = []v1alpha1.ModelName{"reactor/other"} },
		"scope.maxSessions":        func(s *v1alpha1.ReactorTokenSpec) { s.Scope.MaxSessions++ },
		"scope.maxSessionDuration": func(s *v1alpha1.ReactorTokenSpec) { s.Scope.MaxSessionDuration = "23h" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := token.Spec.DeepCopy()
			change(changed)
			if RequestHash(changed) == RequestHash(&token.Spec) {
				t.Error("the hash is the same")
			}
			found := changesOf(changed, &token.Spec)
			if len(found) == 0 || !strings.HasPrefix(found[0].path(), "spec."+name) && !strings.HasPrefix("spec."+name, found[0].path()) {
				t.Errorf("changes %v", found)
			}
		})
	}
	same := token.Spec.DeepCopy()
	same.APIKeySecretRef.Key, same.Lifetime = v1alpha1.DefaultAPIKeyKey, "85m30s"
	if RequestHash(same) != RequestHash(&token.Spec) || len(changesOf(same, &token.Spec)) != 0 {
		t.Errorf("the same in other words is a change: %v", changesOf(same, &token.Spec))
	}
}

func TestWhoManagesAField(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	ours := entry(FieldOwner, `{"f:spec":{"f:lifetime":{},"f:scope":{"f:models":{}}}}`)
	for name, test := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"another client":                   {[]metav1.ManagedFieldsEntry{ours, entry("kubectl-edit", `{"f:spec":{"f:scope":{"f:models":{"v:\"a\"":{}}}}}`)}, `field manager "kubectl-edit"`},
		"a webhook, in the same write":     {[]metav1.ManagedFieldsEntry{ours, entry("other", `{"f:spec":{"f:lifetime":{}}}`)}, "an admission policy or webhook"},
		"nobody, since it was taken away":  {[]metav1.ManagedFieldsEntry{entry(FieldOwner, `{"f:spec":{}}`)}, "an unknown client"},
		"what cannot be read is passed by": {[]metav1.ManagedFieldsEntry{{Manager: "x"}, entry("y", "{")}, "an unknown client"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := managerOf(test.entries, "spec", "scope", "models"); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
