package apimodel

import (
	"context"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // or controller-runtime complains that nobody did
	os.Exit(m.Run())
}

const testLag = 700 * time.Millisecond

// newManager is a real manager whose informers watch the model. It ends with the test.
func newTestManager(t *testing.T, s *Server, user string) ctrl.Manager {
	t.Helper()
	access := s.Client(user)
	mgr, err := ctrl.NewManager(&rest.Config{Host: "http://no.such.host"}, ctrl.Options{
		Scheme:         s.scheme,
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return s.mapper, nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return access, nil },
		Cache: cache.Options{NewInformer: func(_ toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
			options := WatchOptions{User: user, Lag: func(string) time.Duration { return testLag }}
			if _, ok := of.(*metav1.PartialObjectMetadata); ok {
				options.Field = fields.OneTermNotEqualSelector("type", "hidden")
			}
			return toolscache.NewSharedIndexInformer(s.ListerWatcher(of, options), of, resync, indexers)
		}},
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// run runs a manager until the test ends, and waits until it is up.
func run(t *testing.T, mgr ctrl.Manager) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	synctest.Wait()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func tokenNamed(name string) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: name}}
	token.Spec.APIKeySecretRef.Name = "key"
	return token
}

func TestTheCacheOfARealManagerSeesAChangeAfterTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		people := s.Client("people")
		token := tokenNamed("first")
		if err := people.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		mgr := newTestManager(t, s, "operator")
		run(t, mgr)
		seen := &v1alpha1.ReactorToken{}
		if err := mgr.GetCache().Get(t.Context(), client.ObjectKeyFromObject(token), seen); err != nil {
			t.Fatalf("the first read: %v", err)
		}
		token.Labels = map[string]string{"changed": "yes"}
		if err := people.Update(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait time.Duration
			want string
		}{{testLag - time.Nanosecond, ""}, {time.Nanosecond, "yes"}} {
			time.Sleep(step.wait)
			synctest.Wait()
			if err := mgr.GetCache().Get(t.Context(), client.ObjectKeyFromObject(token), seen); err != nil {
				t.Fatal(err)
			}
			if got := seen.Labels["changed"]; got != step.want {
				t.Errorf("after %s, the label is %q in the cache, want %q", step.wait, got, step.want)
			}
		}
	})
}

func TestACacheOfMetadataForgetsWhatLeavesTheSelector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		people := s.Client("people")
		shown := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: "shown"}, StringData: map[string]string{"a": "b"}}
		hidden := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: "hidden"}, Type: "hidden"}
		for _, secret := range []*corev1.Secret{shown, hidden} {
			if err := people.Create(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		}
		mgr := newTestManager(t, s, "operator")
		run(t, mgr)
		names := func() []string {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
			if err := mgr.GetCache().List(t.Context(), list); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, item := range list.Items {
				found = append(found, item.Name)
			}
			return found
		}
		if got := names(); len(got) != 1 || got[0] != "shown" {
			t.Errorf("the cache has %q", got)
		}
		if err := people.Delete(t.Context(), shown); err != nil {
			t.Fatal(err)
		}
		time.Sleep(testLag)
		synctest.Wait()
		if got := names(); len(got) != 0 {
			t.Errorf("after the deletion the cache has %q", got)
		}
	})
}

func TestACacheListsAgainAfterItsWatchWasBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		people := s.Client("people")
		mgr := newTestManager(t, s, "operator")
		run(t, mgr)
		tokens := &v1alpha1.ReactorTokenList{}
		if err := mgr.GetCache().List(t.Context(), tokens); err != nil {
			t.Fatal(err)
		}
		s.BreakWatches()
		if err := people.Create(t.Context(), tokenNamed("late")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if err := mgr.GetCache().List(t.Context(), tokens); err != nil {
			t.Fatal(err)
		}
		if len(tokens.Items) != 1 {
			t.Errorf("the cache has %d tokens", len(tokens.Items))
		}
	})
}
