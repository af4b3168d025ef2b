package operator

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimeconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

const (
	// leaseName is the lease that the leader holds.
	leaseName = "reactor-operator.reactor.inc"

	// shutdownTimeout is how long reconciles in flight may take to finish.
	shutdownTimeout = max(reactortoken.ReconcileTimeout, reactorsession.ReconcileTimeout) + 5*time.Second

	// releaseTimeout is how long the manager takes at most to release its lease: controller-runtime's default of RenewDeadline, which
	// bounds LeaderElector.release of client-go.
	releaseTimeout = 10 * time.Second

	// maxShutdown is how long the process takes at most to end. One step follows the other: the reconciles end, the lease is released,
	// and the events that are still queued are written. The pod's terminationGracePeriodSeconds must be longer.
	maxShutdown = shutdownTimeout + releaseTimeout + notice.FlushTimeout

	// namespaceFile holds the namespace of the pod.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// NewManager returns a manager for the cluster that kube names. It runs no controllers yet.
func NewManager(kube *rest.Config, settings config.Config, version string) (*Manager, error) {
	if err := checkLeaseNamespace(settings, namespaceFile); err != nil {
		return nil, err
	}
	mgr, err := manager.New(clusterConfig(kube, settings, version), managerOptions(settings))
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	recorder, err := newRecorder(mgr.GetConfig(), mgr.GetHTTPClient(), mgr.GetScheme(), mgr.GetLogger())
	if err != nil {
		return nil, err
	}
	caches := &cachesFilled{filled: make(chan struct{})}
	return &Manager{mgr, caches, recorder}, addProbes(mgr, caches)
}

// checkLeaseNamespace says what controller-runtime would say in the words of its own options.
func checkLeaseNamespace(settings config.Config, file string) error {
	if !settings.LeaderElect || settings.LeaderElectionNamespace != "" {
		return nil
	}
	if _, err := os.Stat(file); err != nil {
		return errors.New("--leader-election-namespace: write the namespace of the lease; only in a pod is it known by itself")
	}
	return nil
}

// clusterConfig returns a copy of kube with our name and our limits. The limits hold for each kind of object, since every
// client that controller-runtime makes counts for itself.
func clusterConfig(kube *rest.Config, settings config.Config, version string) *rest.Config {
	kube = rest.CopyConfig(kube)
	kube.UserAgent = userAgent(version)
	kube.QPS, kube.Burst = settings.KubeAPIQPS, settings.KubeAPIBurst
	if kube.QPS == 0 {
		kube.QPS = -1 // client-go takes 0 for its default, which is 5
	}
	return kube
}

// userAgent names this program to Reactor and to Kubernetes.
func userAgent(version string) string { return "reactor-operator/" + version }

func managerOptions(settings config.Config) manager.Options {
	return manager.Options{
		Scheme:  newScheme(),
		Cache:   cacheOptions(settings),
		Client:  clientOptions(),
		Metrics: metricsOptions(settings),
		Controller: runtimeconfig.Controller{
			MaxConcurrentReconciles: settings.Concurrency,
			EnableWarmup:            new(true), // a replica that does not lead has its caches filled
		},

		LeaderElection:          settings.LeaderElect,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: settings.LeaderElectionNamespace,
		// Safe, because main ends when the manager does.
		LeaderElectionReleaseOnCancel: true,

		HealthProbeBindAddress:  settings.HealthProbeBindAddress,
		PprofBindAddress:        settings.PprofBindAddress,
		GracefulShutdownTimeout: new(shutdownTimeout),
	}
}

// newScheme has the types that are read and written, and no others: each registered type takes memory.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	return scheme
}

// cacheOptions limits what is watched and what of it is kept. The entry of Secrets governs all forms in which they could be
// cached, typed and metadata only, since controller-runtime looks it up by the kind.
func cacheOptions(settings config.Config) cache.Options {
	options := cache.Options{
		DefaultNamespaces: watched(settings.Namespaces),
		DefaultTransform:  keepNeeded,
		ByObject:          map[client.Object]cache.ByObject{&corev1.Secret{}: reactortoken.SecretCache()},
		// A read must not start a watch: of Secrets, that would fetch all their payloads.
		ReaderFailOnMissingInformer: true,
	}
	if slices.Contains(settings.Controllers, config.ControllerSessions) {
		options.ByObject[&corev1.Pod{}] = reactorsession.PodCache()
	}
	return options
}

// watched returns nil, which is the whole cluster, for no namespaces.
func watched(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	configs := make(map[string]cache.Config, len(namespaces))
	for _, namespace := range namespaces {
		configs[namespace] = cache.Config{}
	}
	return configs
}

// clientOptions makes reads of Secrets and Pods live in every form, metadata included. Code that needs the cached metadata of Secrets reads the cache
// itself.
func clientOptions() client.Options {
	return client.Options{
		FieldOwner:      targetsecret.FieldOwner,
		FieldValidation: metav1.FieldValidationStrict,
		Cache:           &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.Pod{}}},
	}
}

// metricsOptions always serves over HTTPS. The certificate is self-signed: the client of the metrics authenticates, and the server does not.
func metricsOptions(settings config.Config) metricsserver.Options {
	options := metricsserver.Options{BindAddress: settings.MetricsBindAddress, SecureServing: true}
	if settings.MetricsAuth {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return options
}
