package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

const (
	tokenServerName = operatorName + "-token-server"
	// reviewsRole is the ClusterRole of the token server, and its binding.
	reviewsRole = systemNamespace + "-" + tokenServerName + "-tokenreviews"
)

// rbac.create and serviceAccount.create hold for the token server too.
func TestTheTokenServerHasTheRightsThatTheReleaseSays(t *testing.T) {
	role, binding := "ClusterRole /"+reviewsRole, "ClusterRoleBinding /"+reviewsRole
	for name, test := range map[string]struct {
		set     string
		want    []string // what is made for it
		account string   // that it runs with
	}{
		"by default":    {"replicas=1", []string{role, binding, "ServiceAccount " + tokenServerName}, tokenServerName},
		"without roles": {"rbac.create=false", []string{"ServiceAccount " + tokenServerName}, tokenServerName},
		"without service accounts": {"serviceAccount.create=false,serviceAccount.name=operator,tokenServer.serviceAccountName=web",
			[]string{role, binding}, "web"},
		"with another name": {"tokenServer.serviceAccountName=web", []string{role, binding, "ServiceAccount web"}, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := withTokenServer(t, test.set)
			found := rights(t, objects)
			maps.DeleteFunc(found, func(name string, _ any) bool { return !strings.Contains(name, tokenServerName) })
			for _, object := range objects {
				if object.GetKind() == "ServiceAccount" && object.GetName() != operatorName {
					found["ServiceAccount "+object.GetName()] = nil
				}
			}
			if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(found))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			deployment := appsv1.Deployment{}
			expect.Convert(t, expect.Only(t, objects, "Deployment", tokenServerName), &deployment)
			if got := deployment.Spec.Template.Spec.ServiceAccountName; got != test.account {
				t.Errorf("it runs with the service account %s, want %s", got, test.account)
			}
			if bound, ok := found[binding]; ok {
				want := append([]any{rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reviewsRole}},
					[]rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: test.account}})
				if diff := cmp.Diff(any(want), bound); diff != "" {
					t.Errorf("the binding (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The ClusterRole system:auth-delegator would let it ask about the rights of everybody, too.
func TestTheTokenServerMayCreateTokenReviewsAndNothingElse(t *testing.T) {
	objects := withTokenServer(t, "replicas=1")
	want := []rbacv1.PolicyRule{{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}}}
	if diff := cmp.Diff(any(want), rights(t, objects)["ClusterRole /"+reviewsRole]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, object := range objects {
		if object.GetKind() != "RoleBinding" && object.GetKind() != "ClusterRoleBinding" {
			continue
		}
		binding := rbacv1.ClusterRoleBinding{}
		expect.Convert(t, object, &binding)
		for _, subject := range binding.Subjects {
			if subject.Name == tokenServerName && binding.Name != reviewsRole {
				t.Errorf("the binding %s gives it the rights of %s", binding.Name, binding.RoleRef.Name)
			}
		}
	}
}

// withTokenServer is a release with a token server that accepts service accounts.
func withTokenServer(t *testing.T, set string) []*unstructured.Unstructured {
	t.Helper()
	return decode(t, mustHelm(t, append([]string{"template", "--set",
		"tokenServer.enabled=true,tokenServer.tokenSecretName=web,tokenServer.serviceAccounts.names={studio/web}," + set}, told("cluster")...)...))
}

func TestADrainOfANodeLeavesATokenServer(t *testing.T) {
	want := expect.Only(t, decode(t, kubectl(t, "", "kustomize", overlay(t, systemNamespace, []string{"token-server"}))), "PodDisruptionBudget", tokenServerName)
	got := expect.Only(t, withTokenServer(t, "replicas=1"), "PodDisruptionBudget", tokenServerName)
	// The chart tells its release from others.
	unstructured.RemoveNestedField(got.Object, "spec", "selector", "matchLabels", "app.kubernetes.io/instance")
	if diff := cmp.Diff(want.Object["spec"], got.Object["spec"]); diff != "" {
		t.Errorf("the budgets differ (-config +chart):\n%s", diff)
	}
	for _, set := range []string{"tokenServer.replicas=1", "podDisruptionBudget.enabled=false"} {
		for _, object := range withTokenServer(t, set) {
			if object.GetKind() == "PodDisruptionBudget" {
				t.Errorf("with %s there is a budget %s", set, object.GetName())
			}
		}
	}
}
