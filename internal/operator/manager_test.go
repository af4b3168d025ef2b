package operator

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
)

// settingsOf parses flags as the command does.
func settingsOf(t *testing.T, args ...string) config.Config {
	t.Helper()
	settings, err := config.Parse(args, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestWatchedNamespaces(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want map[string]cache.Config
	}{
		"the whole cluster by default":   {nil, nil},
		"an empty list is all of it too": {[]string{"--namespaces="}, nil},
		"one namespace":                  {[]string{"--namespaces=studio"}, map[string]cache.Config{"studio": {}}},
		"a list, with a repetition":      {[]string{"--namespaces=studio,media,studio"}, map[string]cache.Config{"studio": {}, "media": {}}},
	} {
		t.Run(name, func(t *testing.T) {
			options := managerOptions(settingsOf(t, test.args...))
			if diff := cmp.Diff(test.want, options.Cache.DefaultNamespaces); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsAreCachedWithoutWhatTheyHold(t *testing.T) {
	options := managerOptions(settingsOf(t)).Cache
	if !options.ReaderFailOnMissingInformer {
		t.Error("a read may start a watch, and so fetch the payloads of all Secrets")
	}
	if len(options.ByObject) != 2 {
		t.Fatalf("%d kinds have settings of their own, want Secrets and Pods", len(options.ByObject))
	}
	for object, byObject := range options.ByObject {
		if _, ok := object.(*corev1.Pod); ok {
			if byObject.Label == nil || byObject.Label.Matches(labels.Set{"app": "web"}) {
				t.Error("pods that are none of ours are cached")
			}
			continue
		}
		if byObject.Namespaces != nil || byObject.Field == nil {
			t.Errorf("Secrets must be filtered by a field, and inherit the watched namespaces: %+v", byObject)
		}
		kept, err := byObject.Transform(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name:          "web",
			Annotations:   map[string]string{corev1.LastAppliedConfigAnnotation: "the payload"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
		if diff := cmp.Diff(want, kept); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
	}
}

func TestClientReadsSecretsAndPodsLiveAndValidatesStrictly(t *testing.T) {
	options := managerOptions(settingsOf(t)).Client
	want := client.Options{
		FieldOwner:      "reactor-operator",
		FieldValidation: "Strict",
		Cache:           &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.Pod{}}},
	}
	if diff := cmp.Diff(want, options, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Log" }, cmp.Ignore())); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
}

func TestSchemeKnowsWhatIsReadAndWritten(t *testing.T) {
	scheme := newScheme()
	for _, object := range []client.Object{&v1alpha1.ReactorToken{}, &corev1.Secret{}, &corev1.Pod{}, &appsv1.Deployment{}} {
		if _, _, err := scheme.ObjectKinds(object); err != nil {
			t.Error(err)
		}
	}
}

func TestMetricsServer(t *testing.T) {
	for name, test := range map[string]struct {
		args     []string
		wantBind string
		wantAuth bool
	}{
		"authenticated by default":     {nil, ":8443", true},
		"for every client on request":  {[]string{"--metrics-auth=false"}, ":8443", false},
		"off":                          {[]string{"--metrics-bind-address=0"}, "0", true},
		"at another address and port":  {[]string{"--metrics-bind-address=127.0.0.1:9443"}, "127.0.0.1:9443", true},
		"the probes leave it as it is": {[]string{"--health-probe-bind-address=0"}, ":8443", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := managerOptions(settingsOf(t, test.args...)).Metrics
			if got.BindAddress != test.wantBind || (got.FilterProvider != nil) != test.wantAuth {
				t.Errorf("bound to %s, authenticated: %t", got.BindAddress, got.FilterProvider != nil)
			}
			if !got.SecureServing {
				t.Error("served without TLS")
			}
		})
	}
}

func TestLeaderElection(t *testing.T) {
	byDefault := managerOptions(settingsOf(t))
	if !byDefault.LeaderElection || byDefault.LeaderElectionID == "" || !byDefault.LeaderElectionReleaseOnCancel {
		t.Error("by default one replica must lead, and give the lease back when it ends")
	}
	if byDefault.LeaderElectionNamespace != "" {
		t.Errorf("the lease is in %q, and not in the pod's own namespace", byDefault.LeaderElectionNamespace)
	}
	if !*byDefault.Controller.EnableWarmup {
		t.Error("a standby replica has empty caches")
	}
	set := managerOptions(settingsOf(t, "--leader-elect=false", "--leader-election-namespace=reactor-system"))
	if set.LeaderElection || set.LeaderElectionNamespace != "reactor-system" {
		t.Errorf("elects: %t, in %q", set.LeaderElection, set.LeaderElectionNamespace)
	}
}

func TestTheNamespaceOfTheLeaseIsGivenOrThatOfThePod(t *testing.T) {
	file := filepath.Join(t.TempDir(), "namespace")
	if err := os.WriteFile(file, []byte("reactor-system"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args    []string
		file    string
		wantErr bool
	}{
		"in a pod":                         {nil, file, false},
		"outside of a pod":                 {nil, file + ".none", true},
		"outside of a pod, but given":      {[]string{"--leader-election-namespace=default"}, file + ".none", false},
		"outside of a pod, but not needed": {[]string{"--leader-elect=false"}, file + ".none", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkLeaseNamespace(settingsOf(t, test.args...), test.file)
			if (err != nil) != test.wantErr {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTimesFitIntoEachOther(t *testing.T) {
	if got := *managerOptions(settingsOf(t)).GracefulShutdownTimeout; got <= max(reactortoken.ReconcileTimeout, reactorsession.ReconcileTimeout) {
		t.Errorf("a shutdown waits %s for reconciles, which take up to %s", got, reactorsession.ReconcileTimeout)
	}
	for _, manifest := range []string{"config/manager/manager.yaml", "charts/reactor-operator/templates/deployment.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", manifest))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`terminationGracePeriodSeconds: (\d+)\n`).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no terminationGracePeriodSeconds", manifest)
		}
		grace, err := time.ParseDuration(string(found[1]) + "s")
		if err != nil {
			t.Fatal(err)
		}
		if grace <= maxShutdown {
			t.Errorf("%s: the pod is killed after %s, and a shutdown takes up to %s", manifest, grace, maxShutdown)
		}
	}
}

func TestServersThatWereNotRequestedAreOff(t *testing.T) {
	options := managerOptions(settingsOf(t, "--health-probe-bind-address=0"))
	if options.PprofBindAddress != "0" || options.HealthProbeBindAddress != "0" || options.WebhookServer != nil {
		t.Errorf("profiling on %q, probes on %q, webhooks %v", options.PprofBindAddress, options.HealthProbeBindAddress, options.WebhookServer)
	}
	if got := managerOptions(settingsOf(t, "--pprof-bind-address=127.0.0.1:6060")).PprofBindAddress; got != "127.0.0.1:6060" {
		t.Errorf("profiling on %q, and was requested", got)
	}
}

func TestRequestsToKubernetesHaveOurNameAndLimits(t *testing.T) {
	kube := &rest.Config{Host: "https://127.0.0.1:6443", QPS: -1}
	for name, test := range map[string]struct {
		args      []string
		wantQPS   float32
		wantBurst int
	}{
		"the default is far above client-go's 5 and 10": {nil, 200, 400},
		"as set":                        {[]string{"--kube-api-qps=50", "--kube-api-burst=60"}, 50, 60},
		"0 leaves it to the API server": {[]string{"--kube-api-qps=0"}, -1, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := clusterConfig(kube, settingsOf(t, test.args...), "v1.2.3")
			if got.QPS != test.wantQPS || got.Burst != test.wantBurst || got.UserAgent != "reactor-operator/v1.2.3" {
				t.Errorf("%v requests a second, a burst of %d, as %s", got.QPS, got.Burst, got.UserAgent)
			}
		})
	}
	if kube.QPS != -1 || kube.UserAgent != "" {
		t.Error("the caller's configuration was changed")
	}
}
