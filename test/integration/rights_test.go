package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// forbidden is what the operator's log tells of a right that is missing.
const forbidden = "forbidden"

func TestRolesInTwoNamespacesAreAllThatANamespacedOperatorNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	neighbour, stranger := w.neighbour(), w.neighbour()
	neighbour.grant("watched-namespace")
	w.watched += "," + neighbour.namespace
	o := w.start("--metrics-auth=false")
	for _, in := range []*world{w, neighbour, stranger} {
		in.create("web")
	}
	for _, in := range []*world{w, neighbour} {
		secret := in.waitUntilReady("web")
		token := in.token("web")
		in.waitForEvent(token.UID, "TokenIssued")
		in.requestRenewal("web", "now")
		in.waitForAnother("web", idOf(secret))
		in.deleteObject(token)
		in.waitUntilGone(secret)
		in.settle(o)
	}
	if conditions := stranger.token("web").Status.Conditions; len(conditions) > 0 {
		t.Errorf("a ReactorToken of a namespace that is not watched has conditions: %v", conditions)
	}
	if mints := w.mints(); mints != 4 {
		t.Errorf("%d mints, want two in each of two namespaces", mints)
	}
	text, err := o.scrape()
	if err != nil || sum(text, "reactor_mint_requests_total", `code_class="success"`) != 4 {
		t.Errorf("the metrics do not tell of 4 mints: %v", err)
	}
	o.checkLogFor(forbidden)
}

func TestAnOperatorOfTokensNeedsNoRightOnPodsAndSessions(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutRights(t)
	roles := decode(t, mustKubectl(t, "kustomize", overlayOf(t, "watched-namespace", w.namespace, "tokens-only")))
	if len(roles) != 2 {
		t.Fatalf("%d objects, want one Role and its binding", len(roles))
	}
	w.grantAll(roles)
	o := w.start("--controllers=tokens")
	w.create("web")
	w.waitUntilReady("web")
	o.checkLogFor(forbidden)
}

// checkLogFor objects to a line of the log that speaks of this.
func (o *process) checkLogFor(word string) {
	o.t.Helper()
	for line := range strings.Lines(o.said.String()) {
		if strings.Contains(line, word) {
			o.t.Errorf("the operator said: %s", line)
		}
	}
}

// The whole cluster is for one operator: this test does not run beside others.
func TestTheDefaultInstallationWorksInTheWholeCluster(t *testing.T) {
	w := newWorldWithoutRights(t)
	neighbour := w.neighbour()
	w.watched = ""
	mustKubectl(t, "apply", "--server-side", "--force-conflicts", "--kustomize", manifests+"/default")
	for _, name := range []string{"reactor-operator", "reactor-operator-sessions", "reactor-operator-metrics-auth"} {
		w.deleteAtEnd(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	args := arguments(t, decode(t, mustKubectl(t, "kustomize", manifests+"/default")))
	args = without(args, "--metrics-bind-address", "--health-probe-bind-address")
	o := w.start(append(args, "--metrics-auth", "--leader-election-namespace="+systemNamespace)...)
	for _, in := range []*world{w, neighbour} {
		in.create("web")
		in.waitUntilReady("web")
	}
	o.checkMetricsAuthentication(w, neighbour)
	o.checkLogFor(forbidden)
	o.terminate()
	if code := o.waitForExit(); code != 0 {
		t.Errorf("the operator ended with %d", code)
	}
}

// without leaves out flags, which start chooses for each process.
func without(args []string, flags ...string) []string {
	var kept []string
next:
	for _, arg := range args {
		for _, flag := range flags {
			if strings.HasPrefix(arg, flag+"=") {
				continue next
			}
		}
		kept = append(kept, arg)
	}
	return kept
}

func TestANamespacedOperatorThatMayAskWhoScrapesAuthenticatesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	binding := bind(w.namespace+"-metrics-auth", "system:auth-delegator", rbacv1.Subject{
		Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: operatorName,
	})
	if err := w.kube.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	w.deleteAtEnd(binding)
	o := w.start("--metrics-auth")
	w.create("web")
	w.waitUntilReady("web")
	o.checkMetricsAuthentication(w)
}

func bind(name, clusterRole string, subject rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole},
		Subjects:   []rbacv1.Subject{subject},
	}
}

// checkMetricsAuthentication scrapes as nobody, as somebody and as who may, and finds the series of the ReactorTokens "web".
func (o *process) checkMetricsAuthentication(worlds ...*world) {
	o.t.Helper()
	w := worlds[0]
	stranger, scraper := w.serviceAccount("stranger"), w.serviceAccount("scraper")
	for _, object := range render(o.t, "rbac") {
		if object.GetKind() == "ClusterRole" && object.GetName() == "reactor-operator-metrics-reader" {
			if err := w.kube.Create(o.t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
				o.t.Fatal(err)
			}
		}
	}
	binding := bind(w.namespace+"-scraper", "reactor-operator-metrics-reader", rbacv1.Subject{
		Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: "scraper",
	})
	if err := w.kube.Create(o.t.Context(), binding); err != nil {
		o.t.Fatal(err)
	}
	w.deleteAtEnd(binding)
	w.waitUntilMayScrape("system:serviceaccount:" + w.namespace + ":scraper") // the operator remembers a refusal for a while
	expect.Eventually(o.t, "401 for nobody", func() error { return o.scrapeAs("", http.StatusUnauthorized, nil) })
	expect.Eventually(o.t, "403 for who may not", func() error { return o.scrapeAs(stranger, http.StatusForbidden, nil) })
	// The filter of controller-runtime answers 500 and not 401: the API server reports an invalid token as an error of the review.
	expect.Eventually(o.t, "500 for a token that the API server did not issue", func() error { return o.scrapeAs("none", http.StatusInternalServerError, nil) })
	expect.Eventually(o.t, "200 and the metrics for who may", func() error {
		return o.scrapeAs(scraper, http.StatusOK, func(text string) error {
			var missing []error
			for _, in := range worlds {
				labels := []string{`namespace="` + in.namespace + `"`, `name="web"`}
				if sum(text, "reactor_token_expiration_timestamp_seconds", labels...) == 0 || sum(text, "reactor_token_ready", labels...) != 1 {
					missing = append(missing, fmt.Errorf("no series of the ReactorToken in %s", in.namespace))
				}
			}
			return errors.Join(missing...)
		})
	})
}

func (w *world) waitUntilMayScrape(account string) {
	w.t.Helper()
	expect.Eventually(w.t, "the right to scrape", func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: account, NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}
		if err := w.kube.Create(w.t.Context(), review); err != nil || review.Status.Allowed {
			return err
		}
		return errors.New("it is not there")
	})
}

// serviceAccount makes a service account in the world's namespace, and returns a token of it.
func (w *world) serviceAccount(name string) string {
	w.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	if err := w.kube.Create(w.t.Context(), account); err != nil {
		w.t.Fatal(err)
	}
	config, err := plane.ServiceAccountConfig(w.t.Context(), w.namespace, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return config.BearerToken
}

// scrapeAs reads the metrics with a bearer token, and objects to another status, and to what the check objects to.
func (o *process) scrapeAs(token string, want int, check func(metrics string) error) error {
	request, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, "https://"+o.metrics+"/metrics", nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := insecure.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != want {
		return errors.New(response.Status)
	}
	_, _ = heard.listen("metrics in " + o.t.Name()).Write(text)
	if check == nil {
		return nil
	}
	return check(string(text))
}
