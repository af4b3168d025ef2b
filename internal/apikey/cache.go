package apikey

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// keepFor is how long a key stays in memory after its last use. docs/adr/0009-api-keys-in-memory.md gives the reasons.
const keepFor = time.Minute

// Cache reads the Secret of an API key once per version, for all the objects that use the key. It keeps the fingerprint of the key
// until its Secret or the last of these objects is deleted, and the key itself until one minute after its last use.
//
// It is safe for concurrent use, but the calls for one object must not overlap; a controller never reconciles one object twice at the
// same time.
type Cache struct {
	metadata client.Reader // cached, metadata only
	live     client.Reader

	mu      sync.Mutex
	entries map[location]*entry
	users   map[types.NamespacedName]*entry // the entry that each object uses
}

// location is where a key is: the Secret, and the key in its data.
type location struct {
	secret types.NamespacedName
	key    string
}

// version identifies the content of a Secret. A Secret that was deleted and created again has another UID.
type version struct {
	uid             types.UID
	resourceVersion string
}

// entry is the state of one API key in the Cache.
type entry struct {
	location location
	reading  chan struct{} // full while a caller reads the Secret live

	// The rest is guarded by Cache.mu.

	users int // objects
	// observed is the version that the cached metadata showed when the Secret was read live, and read the version that the live read
	// returned. The second is newer while the watch lags. Both are empty while nothing is known.
	observed, read version
	key            Key
	// Plain is the key itself; empty when it is not in memory. It is exported because fmt calls no methods on unexported fields, and
	// would print it.
	Plain reactor.Secret
	drop  *time.Timer // clears Plain; nil before its first use
}

// need is what a caller needs of an entry.
type need struct {
	plain   bool   // the key itself, and not only its fingerprint
	refused string // the fingerprint of a key that Reactor refused: another key than this; empty: none was refused
}

// NewCache returns a Cache that reads the metadata of Secrets from a cache, and the Secrets themselves live.
func NewCache(metadata, live client.Reader) *Cache {
	return &Cache{metadata: metadata, live: live, entries: map[location]*entry{}, users: map[types.NamespacedName]*entry{}}
}

// Lookup returns what is known of the key that the object refers to, in its own namespace. It makes a request only if the Secret
// changed since it was read. Its error is one of the Kubernetes API.
func (c *Cache) Lookup(ctx context.Context, object types.NamespacedName, reference v1alpha1.APIKeySecretReference) (Key, error) {
	_, key, err := c.resolve(ctx, object, reference, need{})
	return key, err
}

// Get returns the key for one use; the caller must not keep it. It makes a request only if the Secret changed since it was read, or
// if the key was not used for a minute. Its error is one of the Kubernetes API.
func (c *Cache) Get(
	ctx context.Context, object types.NamespacedName, reference v1alpha1.APIKeySecretReference,
) (reactor.Secret, Key, error) {
	return c.resolve(ctx, object, reference, need{plain: true})
}

// Reread returns the key as Get does, after Reactor refused the key with the given fingerprint. It reads the Secret live, unless
// another caller has read a different key since. Its error is one of the Kubernetes API.
func (c *Cache) Reread(
	ctx context.Context, object types.NamespacedName, reference v1alpha1.APIKeySecretReference, refused string,
) (reactor.Secret, Key, error) {
	return c.resolve(ctx, object, reference, need{plain: true, refused: refused})
}

// Forget releases the key that a deleted object used. The last object of a key takes everything that is known of it along.
func (c *Cache) Forget(object types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(object)
}

func (c *Cache) forgetLocked(object types.NamespacedName) {
	e, ok := c.users[object]
	if !ok {
		return
	}
	delete(c.users, object)
	if e.users--; e.users == 0 {
		e.clear()
		delete(c.entries, e.location)
	}
}

// resolve finds the key of an object. It reads the Secret live unless what is known meets the need, given the version that the
// cached metadata shows.
func (c *Cache) resolve(
	ctx context.Context, object types.NamespacedName, reference v1alpha1.APIKeySecretReference, needed need,
) (reactor.Secret, Key, error) {
	e := c.use(object, reference)
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := c.metadata.Get(ctx, e.location.secret, meta)
	if apierrors.IsNotFound(err) {
		return c.gone(e, reference)
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("looking up Secret %s, which should hold the API key: %w", e.location.secret, err)
	}
	observed := version{meta.UID, meta.ResourceVersion}
	if plain, key, ok := c.known(e, observed, needed); ok {
		return plain, key, nil
	}
	// The first of the objects that need the key reads it. The others wait, and find it.
	select {
	case e.reading <- struct{}{}:
		defer func() { <-e.reading }()
	case <-ctx.Done():
		return "", Key{}, fmt.Errorf("reading the API key from Secret %s: waiting for another read of it: %w", e.location.secret, ctx.Err())
	}
	if plain, key, ok := c.known(e, observed, needed); ok {
		return plain, key, nil
	}
	secret := &corev1.Secret{}
	err = c.live.Get(ctx, e.location.secret, secret)
	if apierrors.IsNotFound(err) {
		return c.gone(e, reference)
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("reading the API key from Secret %s: %w", e.location.secret, err)
	}
	return c.store(e, observed, secret, reference)
}

// use returns the entry of the key that the object refers to, and releases the one that it referred to before.
func (c *Cache) use(object types.NamespacedName, reference v1alpha1.APIKeySecretReference) *entry {
	at := location{types.NamespacedName{Namespace: object.Namespace, Name: reference.Name}, reference.EffectiveKey()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if used, ok := c.users[object]; ok && used.location == at {
		return used
	}
	c.forgetLocked(object)
	e, ok := c.entries[at]
	if !ok {
		e = &entry{location: at, reading: make(chan struct{}, 1)}
		c.entries[at] = e
	}
	e.users++
	c.users[object] = e
	return e
}

// known returns what the entry has if that meets the need. Only the use of the key itself keeps it in memory: the objects are looked up
// far more often than they use it.
func (c *Cache) known(e *entry, observed version, needed need) (reactor.Secret, Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !e.meets(needed, observed):
		return "", Key{}, false
	case !needed.plain || e.Plain == "":
		return "", e.key, true
	}
	e.drop.Reset(keepFor)
	return e.Plain, e.key, true
}

// gone records that the Secret does not exist.
func (c *Cache) gone(e *entry, reference v1alpha1.APIKeySecretReference) (reactor.Secret, Key, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.clear()
	return "", Key{Problem: missing(reference)}, nil
}

// store records what a live read returned.
func (c *Cache) store(
	e *entry, observed version, secret *corev1.Secret, reference v1alpha1.APIKeySecretReference,
) (reactor.Secret, Key, error) {
	plain, problem := parseKey(secret, reference)
	key := Key{Problem: problem}
	if problem == nil {
		key.Fingerprint = FingerprintOf(plain)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.observed, e.read = observed, version{secret.UID, secret.ResourceVersion}
	e.key, e.Plain = key, plain
	if e.drop == nil {
		e.drop = time.AfterFunc(keepFor, func() { c.dropPlain(e) })
	}
	e.drop.Reset(keepFor)
	return plain, key, nil
}

// dropPlain drops the key that was not used for keepFor. Its fingerprint stays.
func (c *Cache) dropPlain(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.Plain = ""
}

// meets reports whether the entry has what a caller needs.
func (e *entry) meets(needed need, observed version) bool {
	switch {
	case needed.refused != "":
		return e.Plain != "" && e.key.Fingerprint != needed.refused
	case needed.plain:
		return e.shows(observed) && (e.Plain != "" || e.key.Problem != nil)
	default:
		return e.shows(observed)
	}
}

// shows reports whether the entry is what the Secret holds, as far as the cached metadata shows. While the watch lags, the metadata
// shows the version that it showed before the live read; to read again would return the same key.
func (e *entry) shows(observed version) bool {
	return e.read != version{} && (observed == e.read || observed == e.observed)
}

// clear drops all that is known of a key whose Secret, or whose last user, was deleted.
func (e *entry) clear() {
	e.observed, e.read, e.key, e.Plain = version{}, version{}, Key{}, ""
	if e.drop != nil {
		e.drop.Stop()
	}
}
