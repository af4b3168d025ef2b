package apikey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	namespace = "studio"
	firstKey  = "rk_first-0123456789abcdef"
	secondKey = "rk_second-0123456789abcdef"
)

var (
	reference = v1alpha1.APIKeySecretReference{Name: "reactor-api-key"}
	web       = types.NamespacedName{Namespace: namespace, Name: "web"}
)

// secretWith is the Secret that holds the key; each has a UID of its own.
func secretWith(key string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: reference.Name, UID: types.UID(rand.Text())},
		Data:       map[string][]byte{v1alpha1.DefaultAPIKeyKey: []byte(key)},
	}
}

// reads counts and fails the reads of a client.
type reads struct {
	client.Reader
	count atomic.Int32
	takes time.Duration
	err   error
}

func (r *reads) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	r.count.Add(1)
	time.Sleep(r.takes)
	if r.err != nil {
		return r.err
	}
	return r.Reader.Get(ctx, key, into, options...)
}

// lagging is a watch that shows the metadata of an old version.
type lagging struct{ secret *corev1.Secret }

func (l lagging) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	into.SetUID(l.secret.UID)
	into.SetResourceVersion(l.secret.ResourceVersion)
	return nil
}

func (lagging) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing lists")
}

// fixture is a Cache on an API server that holds the first key.
type fixture struct {
	*testing.T
	api    client.Client
	live   *reads
	secret *corev1.Secret
	cache  *Cache
}

// inBubble runs a test in a synctest bubble.
func inBubble(t *testing.T, test func(b *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		api := fake.NewClientBuilder().Build()
		b := &fixture{T: t, api: api, live: &reads{Reader: api}, secret: secretWith(firstKey)}
		if err := api.Create(t.Context(), b.secret); err != nil {
			t.Fatal(err)
		}
		b.cache = NewCache(api, b.live)
		test(b)
	})
}

// rotate puts another key into the Secret.
func (b *fixture) rotate(key string) {
	b.Helper()
	b.secret.Data[v1alpha1.DefaultAPIKeyKey] = []byte(key)
	if err := b.api.Update(b.Context(), b.secret); err != nil {
		b.Fatal(err)
	}
}

// wantLookup checks what a lookup returns, and how many live reads there were until then.
func (b *fixture) wantLookup(fingerprint string, reads int32) {
	b.Helper()
	got, err := b.cache.Lookup(b.Context(), web, reference)
	if err != nil || got.Fingerprint != fingerprint || (fingerprint == "") != (got.Problem != nil) {
		b.Errorf("fingerprint %q, problem %v, want %q: %v", got.Fingerprint, got.Problem, fingerprint, err)
	}
	b.wantReads(reads)
}

// wantKey checks which key is returned, and how many live reads there were until then.
func (b *fixture) wantKey(want reactor.Secret, reads int32) {
	b.Helper()
	b.check(want, reads)(b.cache.Get(b.Context(), web, reference))
}

func (b *fixture) check(want reactor.Secret, reads int32) func(reactor.Secret, Key, error) {
	b.Helper()
	return func(plain reactor.Secret, key Key, err error) {
		b.Helper()
		if err != nil || plain.Reveal() != want.Reveal() || key.Fingerprint != FingerprintOf(want) {
			b.Errorf("the wrong key, with fingerprint %q and problem %v: %v", key.Fingerprint, key.Problem, err)
		}
		b.wantReads(reads)
	}
}

func (b *fixture) wantReads(want int32) {
	b.Helper()
	if got := b.live.count.Load(); got != want {
		b.Errorf("%d live reads, want %d", got, want)
	}
}

func TestAKeyIsReadOncePerVersionOfItsSecret(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.wantLookup(FingerprintOf(firstKey), 1)
		b.wantLookup(FingerprintOf(firstKey), 1)
		b.wantKey(firstKey, 1)

		b.rotate(secondKey)
		b.wantKey(secondKey, 2)
		b.wantLookup(FingerprintOf(secondKey), 2)

		if err := b.api.Delete(b.Context(), b.secret); err != nil {
			b.Fatal(err)
		}
		b.wantLookup("", 2)
		if err := b.api.Create(b.Context(), secretWith(firstKey)); err != nil {
			b.Fatal(err)
		}
		b.wantLookup(FingerprintOf(firstKey), 3)
	})
}

func TestASecretWithoutAUsableKeyIsReadOnce(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.rotate("password")
		for range 3 {
			plain, key, err := b.cache.Get(b.Context(), web, reference)
			if plain != "" || err != nil || key.Problem == nil || key.Problem.Reason != v1alpha1.ReasonAPIKeyInvalid {
				b.Errorf("%+v: %v", key, err)
			}
			b.wantLookup("", 1)
		}
	})
}

func TestAKeyIsInMemoryUntilAMinuteAfterItsLastUse(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.wantLookup(FingerprintOf(firstKey), 1)
		for range 10 {
			time.Sleep(keepFor - time.Second)
			b.wantKey(firstKey, 1)
		}
		time.Sleep(keepFor - time.Second)
		b.wantLookup(FingerprintOf(firstKey), 1) // is no use of the key itself
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, e := range b.cache.entries {
			if e.Plain != "" {
				b.Error("the key is still in memory")
			}
		}
		b.wantLookup(FingerprintOf(firstKey), 1)
		b.wantKey(firstKey, 2)
		b.wantKey(firstKey, 2)
	})
}

// Hundreds of objects of one key are created at the same time.
func TestABurstOfObjectsReadsTheirKeyOnce(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.live.takes = time.Second
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				object := types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("web-", i)}
				b.check(firstKey, 1)(b.cache.Get(b.Context(), object, reference))
			})
		}
		all.Wait()
	})
}

// The read that the others wait for fails: the next one reads, and a caller that has waited for too long does not.
func TestAReadThatFailsIsMadeAgainByTheNextCaller(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.live.takes, b.live.err = time.Minute, errors.New("connection refused")
		var all sync.WaitGroup
		for i, timeout := range []time.Duration{time.Hour, 30 * time.Second} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				ctx, cancel := context.WithTimeout(b.Context(), timeout)
				defer cancel()
				object := types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("web-", i)}
				if _, err := b.cache.Lookup(ctx, object, reference); err == nil || !strings.Contains(err.Error(), namespace+"/"+reference.Name) {
					b.Errorf("error %v", err)
				}
			})
		}
		all.Wait()
		b.wantReads(1)
		b.live.err = nil
		b.wantKey(firstKey, 2)
	})
}

// 1. A user replaces the key, and the watch does not show that yet. 2. Reactor refuses the old key. 3. The new one is read live, once for
// all, and used from then on, even while the watch still lags.
func TestARefusedKeyIsReadAgainOnceWhileTheWatchLags(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.cache.metadata = lagging{b.secret.DeepCopy()}
		b.wantKey(firstKey, 1)
		b.rotate(secondKey)
		b.wantKey(firstKey, 1)
		rejected := FingerprintOf(firstKey)
		for _, name := range []string{"web", "another", "third"} {
			object := types.NamespacedName{Namespace: namespace, Name: name}
			b.check(secondKey, 2)(b.cache.Reread(b.Context(), object, reference, rejected))
		}
		b.wantKey(secondKey, 2)
		b.wantLookup(FingerprintOf(secondKey), 2)
		b.cache.metadata = b.api // the watch shows the new version
		b.wantKey(secondKey, 2)

		b.check(secondKey, 3)(b.cache.Reread(b.Context(), web, reference, FingerprintOf(secondKey))) // which is refused too
	})
}

func TestAKeyThatCannotBeReadIsAnErrorAndNotAMissingKey(t *testing.T) {
	inBubble(t, func(b *fixture) {
		away := &reads{Reader: b.api, err: errors.New("connection refused")}
		for name, cache := range map[string]*Cache{"its metadata": NewCache(away, b.api), "itself": NewCache(b.api, away)} {
			got, err := cache.Lookup(b.Context(), web, reference)
			if err == nil || !strings.Contains(err.Error(), namespace+"/"+reference.Name) || got.Problem != nil {
				b.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}

// The Secret is deleted, and the watch does not show that yet.
func TestASecretThatWasDeletedTakesWhatIsKnownOfItsKeyAlong(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.wantKey(firstKey, 1)
		missing := &reads{err: apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, reference.Name)}
		for name, gone := range map[string]func(){
			"as the watch shows":   func() { b.cache.metadata = missing },
			"as a live read shows": func() { b.cache.metadata, b.cache.live = lagging{secretWith(secondKey)}, missing },
		} {
			gone()
			plain, key, err := b.cache.Get(b.Context(), web, reference)
			if plain != "" || err != nil || key.Problem == nil || key.Problem.Reason != v1alpha1.ReasonAPIKeyNotFound {
				b.Errorf("%s: %+v, %v", name, key, err)
			}
			for _, e := range b.cache.entries {
				if e.Plain != "" || e.key != (Key{}) {
					b.Errorf("%s: the key or its fingerprint is still in memory", name)
				}
			}
			b.cache.metadata, b.cache.live = b.api, b.live
			if _, err := b.cache.Lookup(b.Context(), web, reference); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestWhatIsKnownOfAKeyLeavesWithTheLastObjectThatUsesIt(t *testing.T) {
	inBubble(t, func(b *fixture) {
		another := types.NamespacedName{Namespace: namespace, Name: "another"}
		b.wantKey(firstKey, 1)
		b.check(firstKey, 1)(b.cache.Get(b.Context(), another, reference))
		b.cache.Forget(web)
		b.cache.Forget(web) // twice is once
		b.check(firstKey, 1)(b.cache.Get(b.Context(), another, reference))
		b.cache.Forget(another)
		b.wantEmpty()
		b.wantKey(firstKey, 2)

		// An object that refers to another key uses the old one no more.
		moved := secretWith(secondKey)
		moved.Name = "moved"
		if err := b.api.Create(b.Context(), moved); err != nil {
			b.Fatal(err)
		}
		b.check(secondKey, 3)(b.cache.Get(b.Context(), web, v1alpha1.APIKeySecretReference{Name: moved.Name}))
		if got := len(b.cache.entries); got != 1 {
			b.Errorf("%d keys are kept, want 1", got)
		}
		b.cache.Forget(web)
		b.wantEmpty()
	})
}

func TestTenThousandNamespacesLeaveNothingBehind(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.cache = NewCache(lagging{b.secret}, everywhere{b.secret})
		for i := range 10_000 {
			object := types.NamespacedName{Namespace: fmt.Sprint("team-", i), Name: "web"}
			if _, _, err := b.cache.Get(b.Context(), object, reference); err != nil {
				b.Fatal(err)
			}
		}
		if got := len(b.cache.entries); got != 10_000 {
			b.Errorf("%d keys are kept, want one for each namespace", got)
		}
		for i := range 10_000 {
			b.cache.Forget(types.NamespacedName{Namespace: fmt.Sprint("team-", i), Name: "web"})
		}
		b.wantEmpty()
	})
}

// everywhere is an API server that has the same Secret in each namespace.
type everywhere struct{ secret *corev1.Secret }

func (e everywhere) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	e.secret.DeepCopyInto(into.(*corev1.Secret))
	into.SetNamespace(key.Namespace)
	return nil
}

func (everywhere) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing lists")
}

func (b *fixture) wantEmpty() {
	b.Helper()
	if entries, users := len(b.cache.entries), len(b.cache.users); entries+users > 0 {
		b.Errorf("%d keys of %d objects are kept, want none", entries, users)
	}
}

func TestAnEntryPrintsNoKey(t *testing.T) {
	inBubble(t, func(b *fixture) {
		b.wantKey(firstKey, 1)
		for _, e := range b.cache.entries {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				if text := fmt.Sprintf(verb, e) + fmt.Sprintf(verb, *e); strings.Contains(text, firstKey) || !strings.Contains(text, "[redacted]") {
					b.Errorf("with %s the entry prints the key, or nothing in its place", verb)
				}
			}
		}
	})
}
