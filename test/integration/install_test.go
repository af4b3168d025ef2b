package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

const (
	// manifests is the folder of what kustomize builds.
	manifests = repository + "/config"
	// systemNamespace is the namespace of an installation for the whole cluster.
	systemNamespace = "reactor-operator-system"
	// operatorName is the name of its Deployment, service account and roles.
	operatorName = "reactor-operator"
)

// operatorRules are all that the operator may do with the objects of users. A rule more is a decision, not a detail.
var operatorRules = []rbacv1.PolicyRule{
	{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create", "delete", "get", "list", "patch", "watch"}},
	{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"}},
	{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactortokens"}, Verbs: []string{"get", "list", "watch"}},
	{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactortokens/status"}, Verbs: []string{"update"}},
}

var (
	sessionsRules = []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create", "delete", "get", "list", "patch", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"}},
		{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactorsessions"}, Verbs: []string{"delete", "get", "list", "patch", "watch"}},
		{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactorsessions/status"}, Verbs: []string{"update"}},
		{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactortokens"}, Verbs: []string{"create", "delete", "get", "list", "patch", "watch"}},
	}
	restartRules = []rbacv1.PolicyRule{
		{APIGroups: []string{"apps"}, Resources: []string{"daemonsets", "deployments", "statefulsets"}, Verbs: []string{"patch"}},
	}
	promptDeliveryRules = []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "patch"}},
	}
)

// installation is what one kustomization must come to.
type installation struct {
	components []string // beside config/default, when folder is empty
	folder     string   // below config
	args       []string // that the operator gets
	rights     []string // "kind namespace/name" of each role that is bound to it
	unbound    []string // cluster-wide objects beside
}

var installations = map[string]installation{
	"the whole cluster": {
		folder: "default",
		args:   []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081"},
		rights: []string{
			"ClusterRole /reactor-operator", "ClusterRole /reactor-operator-sessions", "ClusterRole /system:auth-delegator",
			"Role reactor-operator-system/reactor-operator-leader-election",
		},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-metrics-reader", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactorsessions.reactor.inc", "CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
		},
	},
	"the whole cluster, with what must be allowed": {
		components: []string{"restart", "prompt-delivery"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--allow-restart", "--allow-prompt-delivery"},
		rights: []string{
			"ClusterRole /reactor-operator", "ClusterRole /reactor-operator-prompt-delivery", "ClusterRole /reactor-operator-restart",
			"ClusterRole /reactor-operator-sessions", "ClusterRole /system:auth-delegator", "Role reactor-operator-system/reactor-operator-leader-election",
		},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-metrics-reader", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactorsessions.reactor.inc", "CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
		},
	},
	"the whole cluster, with the sample policies": {
		components: []string{"admission-policy"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081"},
		rights: []string{
			"ClusterRole /reactor-operator", "ClusterRole /reactor-operator-sessions", "ClusterRole /system:auth-delegator",
			"Role reactor-operator-system/reactor-operator-leader-election",
		},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-metrics-reader", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactorsessions.reactor.inc", "CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
			"ValidatingAdmissionPolicy reactor-api-key-secrets", "ValidatingAdmissionPolicy reactor-limited-sessions",
			"ValidatingAdmissionPolicy reactor-limited-tokens", "ValidatingAdmissionPolicy reactor-no-api-key-in-pods",
			"ValidatingAdmissionPolicy reactor-token-lifetime", "ValidatingAdmissionPolicyBinding reactor-api-key-secrets",
			"ValidatingAdmissionPolicyBinding reactor-limited-sessions", "ValidatingAdmissionPolicyBinding reactor-limited-tokens",
			"ValidatingAdmissionPolicyBinding reactor-no-api-key-in-pods", "ValidatingAdmissionPolicyBinding reactor-token-lifetime",
		},
	},
	"the whole cluster, without sessions": {
		components: []string{"tokens-only"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--controllers=tokens"},
		rights:     []string{"ClusterRole /reactor-operator", "ClusterRole /system:auth-delegator", "Role reactor-operator-system/reactor-operator-leader-election"},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-metrics-reader", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
		},
	},
	"one namespace, without sessions": {
		components: []string{"tokens-only", "namespaced"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--controllers=tokens", "--namespaces=$(POD_NAMESPACE)", "--metrics-auth=false"},
		rights:     []string{"Role reactor-operator-system/reactor-operator", "Role reactor-operator-system/reactor-operator-leader-election"},
	},
	"the whole cluster, for a trial": {
		components: []string{"token-server", "network-policy", "prompt-delivery", "emulator"},
		args: []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--allow-prompt-delivery",
			"--api-url=http://reactor-operator-emulator.$(POD_NAMESPACE).svc:8080"},
		rights: []string{
			"ClusterRole /reactor-operator", "ClusterRole /reactor-operator-prompt-delivery", "ClusterRole /reactor-operator-sessions",
			"ClusterRole /system:auth-delegator", "Role reactor-operator-system/reactor-operator-leader-election",
		},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-metrics-reader", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactorsessions.reactor.inc", "CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
		},
	},
	"one namespace, for a trial": {
		components: []string{"emulator", "namespaced"},
		args: []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081",
			"--api-url=http://reactor-operator-emulator.$(POD_NAMESPACE).svc:8080", "--namespaces=$(POD_NAMESPACE)", "--metrics-auth=false"},
		rights: []string{
			"Role reactor-operator-system/reactor-operator", "Role reactor-operator-system/reactor-operator-leader-election",
			"Role reactor-operator-system/reactor-operator-sessions",
		},
	},
	"one namespace": {
		folder: "examples/one-namespace",
		args:   []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--namespaces=$(POD_NAMESPACE)", "--metrics-auth=false"},
		rights: []string{"Role studio/reactor-operator", "Role studio/reactor-operator-leader-election", "Role studio/reactor-operator-sessions"},
	},
	"the operator's namespace, when no other is named": {
		components: []string{"namespaced"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--namespaces=$(POD_NAMESPACE)", "--metrics-auth=false"},
		rights: []string{
			"Role reactor-operator-system/reactor-operator", "Role reactor-operator-system/reactor-operator-leader-election",
			"Role reactor-operator-system/reactor-operator-sessions",
		},
	},
	"one namespace, with what must be allowed": {
		components: []string{"restart", "prompt-delivery", "namespaced"},
		args:       []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--allow-restart", "--allow-prompt-delivery", "--namespaces=$(POD_NAMESPACE)", "--metrics-auth=false"},
		rights: []string{
			"Role reactor-operator-system/reactor-operator", "Role reactor-operator-system/reactor-operator-leader-election",
			"Role reactor-operator-system/reactor-operator-prompt-delivery", "Role reactor-operator-system/reactor-operator-restart",
			"Role reactor-operator-system/reactor-operator-sessions",
		},
	},
	"a list of namespaces": {
		folder: "examples/namespace-list",
		args:   []string{"--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--metrics-auth=false", "--namespaces=studio,media", "--allow-restart"},
		rights: []string{
			"Role media/reactor-operator", "Role media/reactor-operator-sessions", "Role reactor-operator-system/reactor-operator-leader-election",
			"Role studio/reactor-operator", "Role studio/reactor-operator-restart", "Role studio/reactor-operator-sessions",
		},
		unbound: []string{
			"ClusterRole reactor-operator-edit", "ClusterRole reactor-operator-view",
			"CustomResourceDefinition reactorsessions.reactor.inc", "CustomResourceDefinition reactortokens.reactor.inc", "Namespace reactor-operator-system",
		},
	},
}

func TestEachInstallationGivesTheRightsThatItSays(t *testing.T) {
	for name, want := range installations {
		t.Run(name, func(t *testing.T) {
			objects := decode(t, mustKubectl(t, "kustomize", want.kustomization(t)))
			rights, rest := bindings(t, objects)
			if diff := cmp.Diff(want.rights, rights); diff != "" {
				t.Errorf("the operator's roles differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.unbound, rest); diff != "" {
				t.Errorf("the other cluster-wide objects differ (-want +got):\n%s", diff)
			}
			checkRules(t, objects)
		})
	}
}

func TestEachInstallationStartsTheOperatorWithFlagsThatItKnows(t *testing.T) {
	for name, want := range installations {
		t.Run(name, func(t *testing.T) {
			args := arguments(t, decode(t, mustKubectl(t, "kustomize", want.kustomization(t))))
			if diff := cmp.Diff(want.args, args); diff != "" {
				t.Errorf("the arguments differ (-want +got):\n%s", diff)
			}
			for i, arg := range args {
				args[i] = strings.ReplaceAll(arg, "$(POD_NAMESPACE)", "studio")
			}
			var help bytes.Buffer
			if _, err := config.Parse(args, &help); err != nil {
				t.Error("the operator refuses its arguments:", err)
			}
		})
	}
}

// The warnings are those of Pod Security and of fields that the API server drops.
func TestTheAPIServerTakesEachInstallationWithoutAWarning(t *testing.T) {
	for _, namespace := range []string{systemNamespace, "studio", "media"} {
		ensureNamespace(t, namespace)
	}
	mustKubectl(t, "label", "--overwrite", "namespaces", systemNamespace, "studio", "pod-security.kubernetes.io/warn=restricted")
	for name, want := range installations {
		t.Run(name, func(t *testing.T) {
			_, warnings, ok := kubectl(t, "", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--kustomize", want.kustomization(t))
			if !ok || warnings != "" {
				t.Errorf("kubectl said: %s", warnings)
			}
		})
	}
}

// A namespaced installation is applied for real, and its service account asked what it may do.
func TestANamespacedOperatorReachesItsNamespaceAndNoOther(t *testing.T) {
	namespace, other := newNamespace(t, nil), newNamespace(t, nil)
	mustKubectl(t, "apply", "--server-side", "--kustomize", overlay(t, namespace, "namespaced"))
	account := "system:serviceaccount:" + namespace + ":" + operatorName
	for question, test := range map[string]struct {
		authorizationv1.ResourceAttributes
		want bool
	}{
		"reads Secrets of its namespace":             {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "secrets"}, true},
		"lists Secrets of its namespace":             {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "list", Resource: "secrets"}, true},
		"watches ReactorTokens of its namespace":     {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "watch", Group: "reactor.inc", Resource: "reactortokens"}, true},
		"writes their status":                        {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "update", Group: "reactor.inc", Resource: "reactortokens", Subresource: "status"}, true},
		"does not write the spec of ReactorSessions": {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "update", Group: "reactor.inc", Resource: "reactorsessions"}, false},
		"holds its lease":                            {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "reactor-operator.reactor.inc"}, true},
		"does not hold another's lease":              {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "other"}, false},
		"does not patch workloads":                   {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Group: "apps", Resource: "deployments"}, false},
		"creates pods":                               {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "pods"}, true},
		"runs nothing in pods":                       {authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "pods", Subresource: "exec"}, false},
		"does not create pods of another namespace":  {authorizationv1.ResourceAttributes{Namespace: other, Verb: "create", Resource: "pods"}, false},
		"does not read Secrets of another namespace": {authorizationv1.ResourceAttributes{Namespace: other, Verb: "get", Resource: "secrets"}, false},
		"does not list all Secrets":                  {authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets"}, false},
		"does not list all ReactorTokens":            {authorizationv1.ResourceAttributes{Verb: "list", Group: "reactor.inc", Resource: "reactortokens"}, false},
	} {
		t.Run(question, func(t *testing.T) {
			if got := may(t, account, test.ResourceAttributes); got != test.want {
				t.Errorf("%s may %s %s in %q: %t, want %t", account, test.Verb, test.Resource, test.Namespace, got, test.want)
			}
		})
	}
}

func TestEditorsAndViewersGetTheKindsByAggregation(t *testing.T) {
	objects := decode(t, mustKubectl(t, "kustomize", manifests+"/rbac"))
	for name, want := range map[string]struct {
		label string
		verbs []string
	}{
		"reactor-operator-edit": {"rbac.authorization.k8s.io/aggregate-to-edit", []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}},
		"reactor-operator-view": {"rbac.authorization.k8s.io/aggregate-to-view", []string{"get", "list", "watch"}},
	} {
		t.Run(name, func(t *testing.T) {
			role := rbacv1.ClusterRole{}
			expect.Convert(t, expect.Only(t, objects, "ClusterRole", name), &role)
			if role.Labels[want.label] != "true" {
				t.Errorf("the role has no label %s", want.label)
			}
			if diff := cmp.Diff([]rbacv1.PolicyRule{
				{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactortokens", "reactorsessions"}, Verbs: want.verbs},
				{APIGroups: []string{"reactor.inc"}, Resources: []string{"reactortokens/status", "reactorsessions/status"}, Verbs: []string{"get"}},
			}, role.Rules); diff != "" {
				t.Errorf("the rules differ (-want +got):\n%s", diff)
			}
		})
	}
}

// Client-side apply keeps the whole manifest in an annotation, which the API server bounds.
func TestTheCRDIsSmallEnoughForClientSideApply(t *testing.T) {
	const bound = 256 * 1024
	for _, crd := range decode(t, mustKubectl(t, "kustomize", manifests+"/crd")) {
		applied, err := json.Marshal(crd)
		if err != nil {
			t.Fatal(err)
		}
		if len(applied) > bound/2 {
			t.Errorf("%s has %d bytes, more than half of what fits into an annotation", crd.GetName(), len(applied))
		}
	}
	if _, stderr, ok := kubectl(t, "", "apply", "--dry-run=server", "--kustomize", manifests+"/crd"); !ok {
		t.Error("client-side apply of the CRDs:", stderr)
	}
}

// kustomization returns the folder to build.
func (i installation) kustomization(t *testing.T) string {
	t.Helper()
	if i.folder != "" {
		return filepath.Join(manifests, i.folder)
	}
	return overlay(t, systemNamespace, i.components...)
}

// overlay writes a kustomization, as a user would, that puts config/default with these components into a namespace.
func overlay(t *testing.T, namespace string, components ...string) string {
	t.Helper()
	return overlayOf(t, "default", namespace, components...)
}

// overlayOf does so with another folder of config.
func overlayOf(t *testing.T, resources, namespace string, components ...string) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(manifests)
	if err != nil {
		t.Fatal(err)
	}
	from, err := filepath.Rel(folder, root) // kustomize takes no absolute paths
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("namespace: %s\nresources:\n- %s/%s\ncomponents:\n", namespace, from, resources)
	for _, component := range components {
		text += fmt.Sprintf("- %s/components/%s\n", from, component)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// bindings returns the roles that are bound to the operator's service account, and the cluster-wide objects that are
// neither such a role nor its binding.
func bindings(t *testing.T, objects []*unstructured.Unstructured) (bound, rest []string) {
	t.Helper()
	account := expect.Only(t, objects, "ServiceAccount", operatorName)
	for _, object := range objects {
		if !strings.HasSuffix(object.GetKind(), "RoleBinding") {
			continue
		}
		binding := rbacv1.ClusterRoleBinding{} // whose fields are those of a RoleBinding
		expect.Convert(t, object, &binding)
		want := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: operatorName, Namespace: account.GetNamespace()}}
		if diff := cmp.Diff(want, binding.Subjects); diff != "" {
			t.Errorf("%s %s binds another account (-want +got):\n%s", object.GetKind(), object.GetName(), diff)
		}
		if strings.TrimSuffix(object.GetKind(), "Binding") != binding.RoleRef.Kind {
			t.Errorf("%s %s binds a %s", object.GetKind(), object.GetName(), binding.RoleRef.Kind)
		}
		bound = append(bound, binding.RoleRef.Kind+" "+object.GetNamespace()+"/"+binding.RoleRef.Name)
	}
	for _, object := range objects {
		role := object.GetKind() + " /" + object.GetName()
		// kustomize gives policies a namespace, since it does not know that they have none; the API server leaves it out.
		inCluster := object.GetNamespace() == "" || strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy")
		if inCluster && object.GetKind() != "ClusterRoleBinding" && !slices.Contains(bound, role) {
			rest = append(rest, object.GetKind()+" "+object.GetName())
		}
	}
	slices.Sort(bound)
	slices.Sort(rest)
	return bound, rest
}

// checkRules holds the operator's roles, of either kind, against what they must be.
func checkRules(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for name, want := range map[string][]rbacv1.PolicyRule{
		operatorName:                      operatorRules,
		operatorName + "-sessions":        sessionsRules,
		operatorName + "-restart":         restartRules,
		operatorName + "-prompt-delivery": promptDeliveryRules,
	} {
		for _, object := range objects {
			if !slices.Contains([]string{"Role", "ClusterRole"}, object.GetKind()) || object.GetName() != name {
				continue
			}
			role := rbacv1.ClusterRole{}
			expect.Convert(t, object, &role)
			if diff := cmp.Diff(want, role.Rules); diff != "" {
				t.Errorf("the rules of the %s %s differ (-want +got):\n%s", object.GetKind(), name, diff)
			}
		}
	}
}

// may asks the API server whether the account may do this.
func may(t *testing.T, account string, what authorizationv1.ResourceAttributes) bool {
	t.Helper()
	asAccount := rest.CopyConfig(plane.config)
	asAccount.Impersonate = rest.ImpersonationConfig{UserName: account, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	server, err := client.New(asAccount, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	if err := server.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// arguments returns those of the operator's one container.
func arguments(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	deployment := appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, objects, "Deployment", operatorName), &deployment)
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("the operator must have one container, and has %d", len(containers))
	}
	return containers[0].Args
}
