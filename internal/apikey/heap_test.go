package apikey

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/heap"
)

// hidingServer is an API server that keeps the API key in its hidden form only.
type hidingServer struct{ key heap.Hidden }

func (s hidingServer) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	into.SetUID("1")
	into.SetResourceVersion("1")
	if secret, ok := into.(*corev1.Secret); ok {
		secret.Data = map[string][]byte{v1alpha1.DefaultAPIKeyKey: []byte(s.key.Reveal() + "\n")}
	}
	return nil
}

func (hidingServer) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing lists")
}

func TestAMinuteAfterItsLastUseNoKeyIsInTheHeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := heap.NewKey()
		cache := NewCache(hidingServer{key}, hidingServer{key})
		fingerprint := useOnce(t, cache)
		time.Sleep(keepFor - time.Second)
		if !key.In(t, heap.Dump(t)) {
			t.Error("the heap dump does not hold the key, although it is in memory: this test could not fail")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if key.In(t, heap.Dump(t)) {
			t.Error("the heap dump holds the key a minute after its last use")
		}
		if got, err := cache.Lookup(t.Context(), web, reference); err != nil || got.Fingerprint != fingerprint {
			t.Errorf("the fingerprint is %q, want %q: %v", got.Fingerprint, fingerprint, err)
		}
	})
}

// useOnce uses the key as a mint does: nothing of it is left when it returns.
func useOnce(t *testing.T, cache *Cache) string {
	t.Helper()
	plain, key, err := cache.Get(t.Context(), web, reference)
	if err != nil || FingerprintOf(plain) != key.Fingerprint {
		t.Fatal("the key could not be used", err)
	}
	return key.Fingerprint
}
