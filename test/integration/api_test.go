package integration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// rule is one rule of the CRD with a spec on either side of it. A spec without apiKeySecretRef gets a valid one.
type rule struct {
	name     string
	accepted string
	refused  string
	field    string // that the refusal names
	says     string // the sentence, or its essential part
}

// The sentences that belong to a type, and so to several fields.
const (
	saysDuration   = "A duration must be in whole hours, minutes and seconds. Write for example 90s, 20m or 1h30m."
	saysSecretName = "Use lowercase letters, digits, '-' and '.', and start and end with a letter or digit."
	saysModel      = "A model must be the full name of one model, such as reactor/helios. Use letters, digits, '.', '_', '-' and one '/' after the owner. Wildcards are not supported."
	saysNoModels   = "A scope must have at least one model. Write for example models: [reactor/helios], or omit scope for a token without limits."
	saysSessions   = "maxSessions must be from 1 to 500. Omit it for Reactor's default."
	saysFileName   = "The key must be a valid file name. Use letters, digits, '-', '_' and '.', and do not start with '..'."
	saysTaken      = "The keys jwt and expires_at always exist. Choose another name."
	saysLabelValue = "A label value must be valid in Kubernetes. Use at most 63 letters, digits, '-', '_' and '.', and start and end with a letter or digit."
	saysLabelName  = "Use at most 63 letters, digits, '-', '_' and '.', such as team. A domain may precede it, such as example.com/team."
	saysSelector   = "The operator of each expression must match its values. Use In or NotIn with values, and Exists or DoesNotExist without values."
)

var rules = []rule{
	{"an API key is needed", `{}`, `{apiKeySecretRef: null}`, "spec.apiKeySecretRef", "Required value"},
	{"the API key's Secret has a name", `{apiKeySecretRef: {name: key}}`, `{apiKeySecretRef: {}}`, "spec.apiKeySecretRef.name", "Required value"},
	{"the name of the API key's Secret is not empty", `{apiKeySecretRef: {name: k}}`, `{apiKeySecretRef: {name: ""}}`, "spec.apiKeySecretRef.name", "The name must be a valid Secret name. " + saysSecretName},
	{"the name of the API key's Secret is one that Secrets can have", `{apiKeySecretRef: {name: reactor.api-key.2}}`, `{apiKeySecretRef: {name: Reactor_Key}}`, "spec.apiKeySecretRef.name", "The name must be a valid Secret name. " + saysSecretName},
	{"the name of the API key's Secret has at most 253 characters", `{apiKeySecretRef: {name: ` + strings.Repeat("a", 253) + `}}`, `{apiKeySecretRef: {name: ` + strings.Repeat("a", 254) + `}}`, "spec.apiKeySecretRef.name", "may not be more than 253 bytes"},
	{"the key in the API key's Secret is one that Secrets can have", `{apiKeySecretRef: {name: key, key: API_KEY.txt}}`, `{apiKeySecretRef: {name: key, key: keys/prod}}`, "spec.apiKeySecretRef.key", "The key must be valid in a Secret. Use letters, digits, '-', '_' and '.', or omit it for the default, api-key."},
	{"the key in the API key's Secret is not empty", `{apiKeySecretRef: {name: key, key: k}}`, `{apiKeySecretRef: {name: key, key: ""}}`, "spec.apiKeySecretRef.key", "or omit it for the default, api-key."},

	{"a lifetime is a duration", `{lifetime: 6h}`, `{lifetime: 6hrs}`, "spec.lifetime", saysDuration},
	{"a lifetime is in whole units", `{lifetime: 1h30m}`, `{lifetime: 1.5h}`, "spec.lifetime", saysDuration},
	{"a lifetime has a unit", `{lifetime: 3600s}`, `{lifetime: "3600"}`, "spec.lifetime", saysDuration},
	{"a lifetime is not a number", `{lifetime: 60m}`, `{lifetime: 3600}`, "spec.lifetime", "must be of type string"},
	{"a lifetime is not negative", `{lifetime: 1h}`, `{lifetime: -1h}`, "spec.lifetime", saysDuration},
	{"a lifetime is not empty", `{lifetime: 2m}`, `{lifetime: ""}`, "spec.lifetime", saysDuration},
	{"a lifetime has at most 5 digits a unit, which no clock overflows", `{lifetime: 99999h99999m99999s}`, `{lifetime: 100000h}`, "spec.lifetime", saysDuration},
	{"a lifetime has at most 20 characters", `{lifetime: 01h01m01s}`, `{lifetime: 000000000000000000001h}`, "spec.lifetime", "may not be more than 20 bytes"},
	{"a lifetime is at least a minute", `{lifetime: 1m}`, `{lifetime: 59s}`, "spec.lifetime", "lifetime must be at least 1m. Write for example 1h, or omit it for the default of 6h."},
	{"a lifetime above Reactor's ceiling is allowed, and shortened", `{lifetime: 12h}`, `{lifetime: 30s}`, "spec.lifetime", "lifetime must be at least 1m."},

	{"renewBefore is a duration", `{renewBefore: 20m}`, `{renewBefore: 20 min}`, "spec.renewBefore", saysDuration},
	{"renewBefore is at least a second", `{renewBefore: 1s}`, `{renewBefore: 0s}`, "spec.renewBefore", "renewBefore must be at least 1s. Omit it to renew in the last third of the token's lifetime."},
	{"renewBefore is shorter than the lifetime", `{lifetime: 1h, renewBefore: 59m59s}`, `{lifetime: 1h, renewBefore: 60m}`, "spec.renewBefore", "renewBefore (60m) must be shorter than lifetime (1h). Write a shorter renewBefore, or omit it to renew in the last third of the token's lifetime."},
	{"renewBefore is shorter than the lifetime that is asked for by default", `{renewBefore: 5h59m}`, `{renewBefore: 6h}`, "spec.renewBefore", "renewBefore (6h) must be shorter than lifetime (default: 6h). Write a shorter renewBefore"},

	{"a scope has models", `{scope: {models: [reactor/helios]}}`, `{scope: {}}`, "spec.scope.models", saysNoModels},
	{"a scope has at least one model", `{scope: {models: [helios]}}`, `{scope: {models: []}}`, "spec.scope.models", saysNoModels},
	{"maxSessions comes with models", `{scope: {models: [reactor/helios], maxSessions: 3}}`, `{scope: {maxSessions: 3}}`, "spec.scope.models", saysNoModels},
	{"maxSessionDuration comes with models", `{scope: {models: [reactor/helios], maxSessionDuration: 20m}}`, `{scope: {maxSessionDuration: 20m}}`, "spec.scope.models", saysNoModels},
	{"a model is not empty", `{scope: {models: [r/h]}}`, `{scope: {models: [""]}}`, "spec.scope.models[0]", saysModel},
	{"a model is no wildcard", `{scope: {models: [reactor/helios-2.1_fast]}}`, `{scope: {models: ["*"]}}`, "spec.scope.models[0]", saysModel},
	{"a model has no wildcard after its owner", `{scope: {models: [acme/helios]}}`, `{scope: {models: [reactor/helios, "reactor/*"]}}`, "spec.scope.models[1]", saysModel},
	{"a model has one slash", `{scope: {models: [reactor/helios]}}`, `{scope: {models: [reactor/helios/1]}}`, "spec.scope.models[0]", saysModel},
	{"a model has at most 128 characters", `{scope: {models: [` + strings.Repeat("m", 128) + `]}}`, `{scope: {models: [` + strings.Repeat("m", 129) + `]}}`, "spec.scope.models[0]", "may not be more than 128 bytes"},
	{"a model stands once", `{scope: {models: [reactor/helios, reactor/atlas]}}`, `{scope: {models: [reactor/helios, reactor/helios]}}`, "spec.scope.models[1]", "Duplicate value"},
	{"a scope has at most 32 models", `{scope: {models: [` + numbered(32, "m%d") + `]}}`, `{scope: {models: [` + numbered(33, "m%d") + `]}}`, "spec.scope.models", "must have at most 32 items"},
	{"maxSessions is at least 1", `{scope: {models: [reactor/helios], maxSessions: 1}}`, `{scope: {models: [reactor/helios], maxSessions: 0}}`, "spec.scope.maxSessions", saysSessions},
	{"maxSessions is at most 500", `{scope: {models: [reactor/helios], maxSessions: 500}}`, `{scope: {models: [reactor/helios], maxSessions: 501}}`, "spec.scope.maxSessions", saysSessions},
	{"maxSessionDuration is a duration", `{scope: {models: [reactor/helios], maxSessionDuration: 90s}}`, `{scope: {models: [reactor/helios], maxSessionDuration: 90sec}}`, "spec.scope.maxSessionDuration", saysDuration},
	{"maxSessionDuration is at least a second", `{scope: {models: [reactor/helios], maxSessionDuration: 1s}}`, `{scope: {models: [reactor/helios], maxSessionDuration: 0s}}`, "spec.scope.maxSessionDuration", "maxSessionDuration must be from 1s to 24h. Write for example 20m, or omit it for no limit."},
	{"maxSessionDuration is at most a day", `{scope: {models: [reactor/helios], maxSessionDuration: 24h}}`, `{scope: {models: [reactor/helios], maxSessionDuration: 24h1s}}`, "spec.scope.maxSessionDuration", "maxSessionDuration must be from 1s to 24h."},

	{"the Secret's name is one that Secrets can have", `{secret: {name: web.reactor-2}}`, `{secret: {name: Web_Reactor}}`, "spec.secret.name", "The name must be a valid Secret name. " + saysSecretName + " Or omit it for the default, the name of the ReactorToken."},
	{"the Secret is not that of the API key", `{apiKeySecretRef: {name: key}, secret: {name: web}}`, `{apiKeySecretRef: {name: key}, secret: {name: key}}`, "spec.secret.name", "spec.secret.name must not name the Secret that holds the API key, because pods that mount it could read the key."},
	{"the Secret's name does not end with a dash", `{secret: {name: web}}`, `{secret: {name: web-}}`, "spec.secret.name", saysSecretName},
	{"the Secret's name is not empty", `{secret: {}}`, `{secret: {name: ""}}`, "spec.secret.name", "Or omit it for the default, the name of the ReactorToken."},
	{"a label's name is one that labels can have", `{secret: {labels: {example.com/team: web}}}`, `{secret: {labels: {team: web, my team: web}}}`, "spec.secret.labels", "The label name my team is not valid. " + saysLabelName},
	{"a label's name has at most 63 characters", `{secret: {labels: {` + strings.Repeat("a", 63) + `: web}}}`, `{secret: {labels: {` + strings.Repeat("a", 64) + `: web}}}`, "spec.secret.labels", saysLabelName},
	{"a label's domain is one", `{secret: {labels: {a.b/team: web}}}`, `{secret: {labels: {a..b/team: web}}}`, "spec.secret.labels", "The label name a..b/team is not valid."},
	{"a label's value is one that labels can have", `{secret: {labels: {team: Web_2.1, empty: ""}}}`, `{secret: {labels: {team: the web team}}}`, "spec.secret.labels[team]", saysLabelValue},
	{"a label's value has at most 63 characters", `{secret: {labels: {team: ` + strings.Repeat("a", 63) + `}}}`, `{secret: {labels: {team: ` + strings.Repeat("a", 64) + `}}}`, "spec.secret.labels.team", "may not be more than 63 bytes"},
	{"a label is not the operator's", `{secret: {labels: {notreactor.inc/team: web}}}`, `{secret: {labels: {reactor.inc/team: web}}}`, "spec.secret.labels", "The label reactor.inc/team is reserved, like all labels of the domain reactor.inc. Use another domain."},
	{"a label is not of a domain below the operator's", `{secret: {labels: {reactor.inc.example.com/team: web}}}`, `{secret: {labels: {apps.reactor.inc/team: web}}}`, "spec.secret.labels", "The label apps.reactor.inc/team is reserved"},
	{"there are at most 32 labels", `{secret: {labels: {` + numbered(32, "l%d: v") + `}}}`, `{secret: {labels: {` + numbered(33, "l%d: v") + `}}}`, "spec.secret.labels", "must have at most 32 items"},
	{"an annotation's name is one that annotations can have", `{secret: {annotations: {example.com/contact: "the web team"}}}`, `{secret: {annotations: {"contact!": web}}}`, "spec.secret.annotations", "The annotation name contact! is not valid. " + saysLabelName},
	{"an annotation is not the operator's", `{secret: {annotations: {contact: web}}}`, `{secret: {annotations: {reactor.inc/token-id: web}}}`, "spec.secret.annotations", "The annotation reactor.inc/token-id is reserved, like all annotations of the domain reactor.inc. Use another domain."},
	{"an annotation's value has at most 4096 characters", `{secret: {annotations: {a: ` + strings.Repeat("v", 4096) + `}}}`, `{secret: {annotations: {a: ` + strings.Repeat("v", 4097) + `}}}`, "spec.secret.annotations.a", "may not be more than 4096 bytes"},
	{"there are at most 32 annotations", `{secret: {annotations: {` + numbered(32, "a%d: v") + `}}}`, `{secret: {annotations: {` + numbered(33, "a%d: v") + `}}}`, "spec.secret.annotations", "must have at most 32 items"},
	{"an additional key is not jwt", `{secret: {additionalKeys: [{name: token, format: JWT}]}}`, `{secret: {additionalKeys: [{name: jwt, format: JWT}]}}`, "spec.secret.additionalKeys", saysTaken},
	{"an additional key is not expires_at", `{secret: {additionalKeys: [{name: expires, format: ExpiresAt}]}}`, `{secret: {additionalKeys: [{name: expires_at, format: Env}]}}`, "spec.secret.additionalKeys", saysTaken},
	{"an additional key stands once", `{secret: {additionalKeys: [{name: a, format: JSON}, {name: b, format: JSON}]}}`, `{secret: {additionalKeys: [{name: a, format: JSON}, {name: a, format: Env}]}}`, "spec.secret.additionalKeys", "Additional keys must have different names. Rename one of them."},
	{"an additional key's name is a file name", `{secret: {additionalKeys: [{name: token.json, format: JSON}]}}`, `{secret: {additionalKeys: [{name: tokens/web, format: JSON}]}}`, "spec.secret.additionalKeys[0].name", saysFileName},
	{"an additional key's name is not the folder's own", `{secret: {additionalKeys: [{name: .token, format: JSON}]}}`, `{secret: {additionalKeys: [{name: ., format: JSON}]}}`, "spec.secret.additionalKeys[0].name", saysFileName},
	{"an additional key's name does not begin with two dots", `{secret: {additionalKeys: [{name: a..b, format: JSON}]}}`, `{secret: {additionalKeys: [{name: ..data, format: JSON}]}}`, "spec.secret.additionalKeys[0].name", saysFileName},
	{"an additional key has a format", `{secret: {additionalKeys: [{name: a, format: Env}]}}`, `{secret: {additionalKeys: [{name: a}]}}`, "spec.secret.additionalKeys[0].format", "Required value"},
	{"a format is one of the list", `{secret: {additionalKeys: [{name: a, format: AuthorizationHeader}]}}`, `{secret: {additionalKeys: [{name: a, format: json}]}}`, "spec.secret.additionalKeys[0].format", `supported values: "JSON", "Env", "AuthorizationHeader", "JWT", "ExpiresAt"`},
	{"there are at most 16 additional keys", `{secret: {additionalKeys: [` + numbered(16, "{name: k%d, format: JWT}") + `]}}`, `{secret: {additionalKeys: [` + numbered(17, "{name: k%d, format: JWT}") + `]}}`, "spec.secret.additionalKeys", "must have at most 16 items"},
	{"a deletion policy is one of the list", `{secret: {deletionPolicy: Retain}}`, `{secret: {deletionPolicy: Keep}}`, "spec.secret.deletionPolicy", `supported values: "Delete", "Retain"`},

	{"a workload is of a kind that can be rolled", `{restart: [{kind: DaemonSet, name: web}]}`, `{restart: [{kind: Pod, name: web}]}`, "spec.restart[0].kind", `supported values: "Deployment", "StatefulSet", "DaemonSet"`},
	{"a workload has a name", `{restart: [{kind: Deployment, name: web}]}`, `{restart: [{kind: Deployment}]}`, "spec.restart[0].name", "Required value"},
	{"a workload's name is one that workloads can have", `{restart: [{kind: StatefulSet, name: web-0}]}`, `{restart: [{kind: StatefulSet, name: Web 0}]}`, "spec.restart[0].name", "The name must be a valid workload name. " + saysSecretName},
	{"a workload stands once", `{restart: [{kind: Deployment, name: web}, {kind: DaemonSet, name: web}]}`, `{restart: [{kind: Deployment, name: web}, {kind: Deployment, name: web}]}`, "spec.restart[1]", "Duplicate value"},
	{"there are at most 16 workloads", `{restart: [` + numbered(16, "{kind: Deployment, name: w%d}") + `]}`, `{restart: [` + numbered(17, "{kind: Deployment, name: w%d}") + `]}`, "spec.restart", "must have at most 16 items"},

	{"prompt delivery selects pods", `{promptDelivery: {podSelector: {matchLabels: {app: web}}}}`, `{promptDelivery: {}}`, "spec.promptDelivery.podSelector", "Required value"},
	{"prompt delivery knows the operators of selectors", `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}}`, `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: in, values: [web]}]}}}`, "spec.promptDelivery.podSelector.matchExpressions", saysSelector},
	{"an operator of prompt delivery that needs values has some", `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [bot]}]}}}`, `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: NotIn}]}}}`, "spec.promptDelivery.podSelector.matchExpressions", saysSelector},
	{"an operator of prompt delivery that needs no values has none", `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: Exists}]}}}`, `{promptDelivery: {podSelector: {matchExpressions: [{key: app, operator: Exists, values: [web]}]}}}`, "spec.promptDelivery.podSelector.matchExpressions", saysSelector},

	{"suspend is true or false", `{suspend: true}`, `{suspend: "yes"}`, "spec.suspend", "must be of type boolean"},
}

func TestTheAPIServerRefusesBadSpecsWithASentence(t *testing.T) {
	namespace := newNamespace(t, nil)
	server := admin(t)
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			if err := dryRun(t, server, namespace, rule.accepted); err != nil {
				t.Errorf("%s must be accepted: %v", shortened(rule.accepted), err)
			}
			err := dryRun(t, server, namespace, rule.refused)
			if !apierrors.IsInvalid(err) {
				t.Fatalf("%s must be refused as invalid: %v", shortened(rule.refused), err)
			}
			causes := causesOf(err)
			if !slices.ContainsFunc(causes, func(cause metav1.StatusCause) bool {
				return cause.Field == rule.field && strings.Contains(cause.Message, rule.says)
			}) {
				t.Errorf("the refusal of %s does not say %q of %s:\n%s", shortened(rule.refused), rule.says, rule.field, listed(causes))
			}
		})
	}
}

// A new rule must come with a case above. Each sentence of the CRD's spec, or each fixed part of one that is put together,
// must be part of a refusal.
func TestEverySentenceOfTheCRDHasACase(t *testing.T) {
	namespace := newNamespace(t, nil)
	server := admin(t)
	var said strings.Builder
	for _, rule := range rules {
		for _, cause := range causesOf(dryRun(t, server, namespace, rule.refused)) {
			said.WriteString(cause.Message + "\n")
		}
	}
	sentences := 0
	for path, rules := range validations(t) {
		for _, rule := range rules {
			for _, part := range fixedParts(rule) {
				sentences++
				if !strings.Contains(said.String(), part) {
					t.Errorf("no case is refused with the sentence of %s: %q", path, part)
				}
			}
		}
	}
	if sentences < 20 {
		t.Errorf("found only %d sentences in the CRD", sentences)
	}
}

// What a person reads in a terminal, whole. The first line of the two about 6hrs comes from the pattern, which is there
// for tools that check manifests without a cluster.
func TestKubectlShowsThePersonWhatToWriteInstead(t *testing.T) {
	namespace := newNamespace(t, nil)
	for name, test := range map[string]struct{ spec, want string }{
		"a duration that is none": {
			spec: `{apiKeySecretRef: {name: key}, lifetime: 6hrs}`,
			want: `The ReactorToken "web" is invalid: 
* spec.lifetime: Invalid value: "6hrs": spec.lifetime in body should match '^([0-9]{1,5}[hms]){1,3}$'
* spec.lifetime: Invalid value: "6hrs": A duration must be in whole hours, minutes and seconds. Write for example 90s, 20m or 1h30m.
`,
		},
		"a renewal before the lifetime begins": {
			spec: `{apiKeySecretRef: {name: key}, lifetime: 1h, renewBefore: 2h}`,
			want: `The ReactorToken "web" is invalid: spec.renewBefore: Invalid value: renewBefore (2h) must be shorter than lifetime (1h). Write a shorter renewBefore, or omit it to renew in the last third of the token's lifetime.
`,
		},
		"sessions without models": {
			spec: `{apiKeySecretRef: {name: key}, scope: {maxSessions: 3}}`,
			want: `The ReactorToken "web" is invalid: spec.scope.models: Required value: A scope must have at least one model. Write for example models: [reactor/helios], or omit scope for a token without limits.
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := "apiVersion: reactor.inc/v1alpha1\nkind: ReactorToken\nmetadata: {name: web}\nspec: " + test.spec
			_, stderr, ok := kubectl(t, manifest, "--namespace", namespace, "apply", "-f", "-")
			if ok || stderr != test.want {
				t.Errorf("kubectl printed\n%s\nwant\n%s", stderr, test.want)
			}
		})
	}
}

// dryRun asks the API server whether it would create a ReactorToken with this spec. Fields that it does not know are an
// error, as they are for kubectl.
func dryRun(t *testing.T, server client.Client, namespace, spec string) error {
	t.Helper()
	fields := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		t.Fatalf("the spec %s is no YAML: %v", spec, err)
	}
	if _, given := fields["apiKeySecretRef"]; !given {
		fields["apiKeySecretRef"] = map[string]any{"name": "key"}
	}
	if fields["apiKeySecretRef"] == nil {
		delete(fields, "apiKeySecretRef")
	}
	token := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "reactor.inc/v1alpha1",
		"kind":       "ReactorToken",
		"metadata":   map[string]any{"name": "web", "namespace": namespace},
		"spec":       fields,
	}}
	return server.Create(t.Context(), token, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

func causesOf(err error) []metav1.StatusCause {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Details != nil {
		return status.Status().Details.Causes
	}
	return nil
}

func listed(causes []metav1.StatusCause) string {
	var text strings.Builder
	for _, cause := range causes {
		fmt.Fprintf(&text, "%s: %s\n", cause.Field, cause.Message)
	}
	return text.String()
}

func shortened(spec string) string {
	return spec[:min(len(spec), 120)]
}

// numbered repeats a form with the numbers from 0, separated by commas.
func numbered(count int, form string) string {
	parts := make([]string, count)
	for i := range parts {
		parts[i] = fmt.Sprintf(form, i)
	}
	return strings.Join(parts, ", ")
}

// validations returns the CEL rules of the CRD's spec, by the path of the field that they stand at.
func validations(t *testing.T) map[string][]map[string]any {
	t.Helper()
	found := map[string][]map[string]any{}
	var walk func(path string, schema map[string]any)
	walk = func(path string, schema map[string]any) {
		if rules, ok := schema["x-kubernetes-validations"].([]any); ok {
			for _, rule := range rules {
				found[path] = append(found[path], rule.(map[string]any))
			}
		}
		for _, inner := range []string{"items", "additionalProperties"} {
			if schema, ok := schema[inner].(map[string]any); ok {
				walk(path+"[]", schema)
			}
		}
		properties, _, _ := unstructured.NestedMap(schema, "properties")
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			walk(path+"."+name, properties[name].(map[string]any))
		}
	}
	walk("spec", specSchema(t))
	return found
}

// specSchema returns the schema of the spec, from the generated CRD.
func specSchema(t *testing.T) map[string]any {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(crds, "reactor.inc_reactortokens.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	versions, _, err := unstructured.NestedSlice(decode(t, string(manifest))[0].Object, "spec", "versions")
	if err != nil || len(versions) != 1 {
		t.Fatalf("the CRD must have one version, and has %d: %v", len(versions), err)
	}
	schema, found, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec")
	if err != nil || !found {
		t.Fatal("the CRD has no schema of the spec:", err)
	}
	return schema
}

// literal is a text in an expression.
var literal = regexp.MustCompile(`'((?:[^'\\]|\\.)*)'`)

// fixedParts returns the message of a rule, or the parts of the sentence that its expression puts together. Parts of
// sentences have spaces; the arguments of functions have none.
func fixedParts(rule map[string]any) []string {
	expression, _ := rule["messageExpression"].(string)
	if expression == "" {
		return []string{rule["message"].(string)}
	}
	var parts []string
	for _, match := range literal.FindAllStringSubmatch(expression, -1) {
		if strings.Contains(match[1], " ") {
			parts = append(parts, strings.ReplaceAll(match[1], `\'`, `'`))
		}
	}
	return parts
}
