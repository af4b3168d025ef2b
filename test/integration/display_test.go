package integration

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestExplainReadsWell(t *testing.T) {
	for path, want := range map[string]string{
		"reactortoken": `DESCRIPTION:
    ReactorToken keeps a Reactor token in a Secret. The operator exchanges an
    API key for a token, writes the token to the Secret, and renews it before it
    expires. Pods mount the Secret and never get the API key.
`,
		"reactortoken.spec": `DESCRIPTION:
    spec defines which API key to use, which token to request, and where to
    write it.
`,
		"rtok.spec": `
  lifetime	<string>
    lifetime is the requested lifetime of each token, at least 1m. Defaults to
    6h, which is Reactor's maximum. Reactor shortens a longer requested lifetime
    without an error. The condition LifetimeClamped is then True.
`,
		"reactortoken.spec.scope": `
  maxSessions	<integer>
    maxSessions is how many sessions the token may start in total, including
    closed sessions. Each renewed token starts again at 0. If omitted, Reactor's
    default applies.
`,
		"reactortoken.spec.secret.additionalKeys": `
    format is the format of the value. JSON is the response of Reactor,
    {"jwt":…,"expires_at":…}. Env is a file with the lines REACTOR_JWT=… and
    REACTOR_JWT_EXPIRES_AT=…. AuthorizationHeader is Bearer and the token. JWT
    and ExpiresAt are the plain values under another name.
`,
		"reactortoken.status": `
  renewalTime	<string>
    renewalTime is when the next token is due, by Reactor's clock.
`,
	} {
		t.Run(path, func(t *testing.T) {
			if got := mustKubectl(t, "explain", path); !strings.Contains(got, want) {
				t.Errorf("kubectl explain prints\n%s\nwhich does not contain\n%s", got, want)
			}
		})
	}
}

// kubectl explain keeps the line breaks of a description and breaks longer lines again, which leaves single words on lines
// of their own.
func TestDescriptionsFitTheLinesOfExplain(t *testing.T) {
	const width = 76
	var walk func(path string, schema map[string]any)
	walk = func(path string, schema map[string]any) {
		description, _ := schema["description"].(string)
		if description == "" {
			t.Errorf("%s has no description", path)
		}
		for line := range strings.SplitSeq(description, "\n") {
			if utf8.RuneCountInString(line) > width {
				t.Errorf("a line of the description of %s is longer than %d: break its comment earlier:\n%s", path, width, line)
			}
		}
		if items, ok := schema["items"].(map[string]any); ok && items["properties"] != nil {
			walk(path+"[]", items)
		}
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if name != "podSelector" { // whose fields Kubernetes describes
				walk(path+"."+name, properties[name].(map[string]any))
			}
		}
	}
	walk("spec", specSchema(t))
}

// filled is a ReactorToken in a namespace of its own, with the status that it has when all is well.
func filled(t *testing.T) *v1alpha1.ReactorToken {
	t.Helper()
	at := func(clock string) *metav1.Time {
		instant, err := time.Parse(time.RFC3339, "2026-11-23T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return &metav1.Time{Time: instant}
	}
	token := &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: newNamespace(t, nil)},
		Spec:       v1alpha1.ReactorTokenSpec{APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: "reactor-api-key"}},
	}
	if err := admin(t).Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	token.Status = v1alpha1.ReactorTokenStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid, LastTransitionTime: *at("09:00:00")},
			{Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRateLimited, LastTransitionTime: *at("09:40:00")},
		},
		SecretName:          "web-reactor",
		IssuedTime:          at("09:00:00"),
		ExpirationTime:      at("10:00:00"),
		RenewalTime:         at("09:38:12"),
		GrantedLifetime:     "1h",
		ConsecutiveFailures: 2,
	}
	if err := admin(t).Status().Update(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTheColumnsShowWhatPeopleLookForFirst(t *testing.T) {
	table := tableOf(t, filled(t).Namespace)
	type column struct{ name, value any }
	var usual, wide []column
	for i, definition := range table.ColumnDefinitions {
		shown := column{definition.Name, table.Rows[0].Cells[i]}
		if definition.Name == "Age" {
			shown.value = "" // moves
		}
		if definition.Priority == 0 {
			usual = append(usual, shown)
		} else {
			wide = append(wide, shown)
		}
		if definition.Description == "" {
			t.Errorf("the column %s has no description", definition.Name)
		}
	}
	compare := cmp.AllowUnexported(column{})
	if diff := cmp.Diff([]column{
		{"Name", "web"},
		{"Ready", "True"},
		{"Expires", "2026-11-23T10:00:00Z"},
		{"Renews", "2026-11-23T09:38:12Z"},
		{"Secret", "web-reactor"},
		{"Age", ""},
	}, usual, compare); diff != "" {
		t.Errorf("the columns differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]column{
		{"Status", "TokenValid"},
		{"Renewed", "RateLimited"},
		{"Granted", "1h"},
		{"API Key", "reactor-api-key"},
		{"Failures", int64(2)},
	}, wide, compare); diff != "" {
		t.Errorf("the columns of -o wide differ (-want +got):\n%s", diff)
	}
}

func TestKubectlFindsReactorTokensByEveryName(t *testing.T) {
	const usual = "NAME READY EXPIRES RENEWS SECRET AGE"
	namespace := filled(t).Namespace
	for name, test := range map[string]struct {
		args []string
		want string // the first line, or nothing for no object
	}{
		"the short name":                    {args: []string{"rtok"}, want: usual},
		"the singular":                      {args: []string{"reactortoken"}, want: usual},
		"the category":                      {args: []string{"reactor"}, want: usual},
		"wide":                              {args: []string{"rtok", "-o", "wide"}, want: usual + " STATUS RENEWED GRANTED API KEY FAILURES"},
		"the Secret of its API key":         {args: []string{"rtok", "--field-selector", "spec.apiKeySecretRef.name=reactor-api-key"}, want: usual},
		"another API key's Secret":          {args: []string{"rtok", "--field-selector", "spec.apiKeySecretRef.name=other"}},
		"the Secret that it writes":         {args: []string{"rtok", "--field-selector", "status.secretName=web-reactor"}, want: usual},
		"a Secret that it does not write":   {args: []string{"rtok", "--field-selector", "status.secretName!=web-reactor"}},
		"everything of the category, named": {args: []string{"reactor", "--output", "name"}, want: "reactortoken.reactor.inc/web"},
	} {
		t.Run(name, func(t *testing.T) {
			printed := mustKubectl(t, append([]string{"--namespace", namespace, "get"}, test.args...)...)
			header, _, _ := strings.Cut(printed, "\n")
			if got := strings.Join(strings.Fields(header), " "); got != test.want {
				t.Errorf("kubectl get %s prints the header %q, want %q", strings.Join(test.args, " "), got, test.want)
			}
		})
	}
}

// tableOf asks for the ReactorTokens of a namespace in the form in which kubectl gets them.
func tableOf(t *testing.T, namespace string) *metav1.Table {
	t.Helper()
	config := rest.CopyConfig(plane.config)
	config.GroupVersion = &v1alpha1.SchemeGroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	server, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	table := &metav1.Table{}
	err = server.Get().Namespace(namespace).Resource("reactortokens").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		Do(t.Context()).Into(table)
	if err != nil || len(table.Rows) != 1 {
		t.Fatalf("the table has %d rows: %v", len(table.Rows), err)
	}
	return table
}
