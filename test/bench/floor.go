package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// example is what the operator wrote for one ReactorToken. A floor writes the same, so that its requests are as large, whatever the
// operator comes to write.
type example struct {
	secret corev1.Secret
	status v1alpha1.ReactorTokenStatus
}

// exampleOf reads what was written for a ReactorToken.
func exampleOf(ctx context.Context, s *stage.Stage, name string) (*example, error) {
	token, found := &v1alpha1.ReactorToken{}, &example{}
	at := client.ObjectKey{Namespace: stage.Namespace, Name: name}
	if err := s.Kube.Get(ctx, at, token); err != nil {
		return nil, err
	}
	found.status = token.Status
	return found, s.Kube.Get(ctx, at, &found.secret)
}

// learn has the operator that runs make a token, and reads what it wrote.
func learn(ctx context.Context, s *stage.Stage) (*example, error) {
	const name = "example"
	if err := createTokens(ctx, s, []string{name}); err != nil {
		return nil, err
	}
	var found *example
	err := stage.Poll(ctx, time.Minute, func(ctx context.Context) (bool, error) {
		var err error
		if found, err = exampleOf(ctx, s, name); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return meta.IsStatusConditionTrue(found.status.Conditions, v1alpha1.ConditionReady), nil
	})
	if err != nil {
		return nil, fmt.Errorf("an example of what the operator writes: %w", err)
	}
	return found, removeTokens(ctx, s, []string{name})
}

// floor does what an operator cannot do without, and nothing else: it reads the key once, and for each ReactorToken it calls Reactor and
// writes the Secret and the status. It has the operator's rights, clients, limits, concurrency and watches, and none of its decisions.
type floor struct {
	config  config.Config
	kube    client.Client // writes
	live    client.Reader // reads the key and whatever else no cache has
	key     func() (reactor.Secret, error)
	watches cache.Cache
	reactor *reactor.Client
	writes  *example
	renews  bool // its Secrets are there
	stop    context.CancelFunc
}

// newFloor opens the watches, and returns once they have what is there.
func newFloor(ctx context.Context, s *stage.Stage, writes *example, flags ...string) (*floor, error) {
	f := &floor{writes: writes}
	var err error
	if f.config, err = config.Parse(append(s.Flags(), flags...), io.Discard); err != nil {
		return nil, err
	}
	if f.reactor, err = reactor.NewClient(reactor.Options{BaseURL: s.Reactor}); err != nil {
		return nil, err
	}
	scheme, err := controlplane.Scheme()
	if err != nil {
		return nil, err
	}
	account := rest.CopyConfig(s.Account)
	account.QPS, account.Burst = f.config.KubeAPIQPS, f.config.KubeAPIBurst
	if account.QPS == 0 {
		account.QPS = -1 // as the operator has it
	}
	f.kube, err = client.New(account, client.Options{Scheme: scheme, FieldOwner: "reactor-floor", FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, err
	}
	// A second one, as the operator's manager has it. Each counts its requests for itself, and for each kind of object: with one for both,
	// the read of the key and the write of the Secret would share what --kube-api-qps allows.
	if f.live, err = client.New(account, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	f.watches, err = cache.New(account, cache.Options{
		Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: reactortoken.SecretCache(), &corev1.Pod{}: reactorsession.PodCache()},
	})
	if err != nil {
		return nil, err
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.key = sync.OnceValues(func() (reactor.Secret, error) { return f.readKey(ctx) })
	for _, kind := range []client.Object{&v1alpha1.ReactorToken{}, &v1alpha1.ReactorSession{}, secretMetadata(), &corev1.Pod{}} {
		if _, err := f.watches.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			f.stop()
			return nil, err
		}
	}
	go func() { _ = f.watches.Start(ctx) }() // it ends with the context
	if !f.watches.WaitForCacheSync(ctx) {
		f.stop()
		return nil, fmt.Errorf("the floor's watches: %w", context.Cause(ctx))
	}
	return f, nil
}

// passes makes the pass of each ReactorToken.
func (f *floor) passes(ctx context.Context, names []string) error {
	return forEach(ctx, f.config.Concurrency, names, func(ctx context.Context, name string) error {
		token := &v1alpha1.ReactorToken{}
		if err := f.watches.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: name}, token); err != nil {
			return err
		}
		return f.pass(ctx, token)
	})
}

// readKey reads the key that all the ReactorTokens share.
func (f *floor) readKey(ctx context.Context) (reactor.Secret, error) {
	secret := &corev1.Secret{}
	err := f.live.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: stage.KeySecret}, secret)
	return reactor.Secret(secret.Data[v1alpha1.DefaultAPIKeyKey]), err
}

// pass makes the three requests of a mint.
func (f *floor) pass(ctx context.Context, token *v1alpha1.ReactorToken) error {
	key, err := f.key()
	if err != nil {
		return err
	}
	request := reactor.MintRequest{APIKey: key, Lifetime: token.Spec.EffectiveLifetime()}
	if scope := token.Spec.Scope; scope != nil {
		request.Scope = &reactor.Scope{MaxSessions: scope.MaxSessions, MaxSessionDuration: scope.MaxSessionDuration.Std()}
		for _, name := range scope.Models {
			request.Scope.Models = append(request.Scope.Models, string(name))
		}
	}
	minted, err := f.reactor.Mint(ctx, request)
	if err != nil {
		return err
	}
	if err := f.write(ctx, f.secretOf(token, minted.JWT)); err != nil {
		return err
	}
	updated := token.DeepCopy()
	updated.Status = *f.writes.status.DeepCopy()
	updated.Status.SecretName = token.TargetSecretName()
	return f.kube.Status().Update(ctx, updated)
}

func (f *floor) write(ctx context.Context, secret *corev1.Secret) error {
	if !f.renews {
		return f.kube.Create(ctx, secret)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": secret.Annotations}, "data": secret.Data})
	if err != nil {
		return err
	}
	return f.kube.Patch(ctx, secret, client.RawPatch(types.MergePatchType, patch))
}

func (f *floor) secretOf(token *v1alpha1.ReactorToken, jwt reactor.Secret) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: token.Namespace, Name: token.TargetSecretName(),
			Labels: maps.Clone(f.writes.secret.Labels), Annotations: maps.Clone(f.writes.secret.Annotations),
		},
		Type: f.writes.secret.Type, Data: maps.Clone(f.writes.secret.Data),
	}
	for _, owner := range f.writes.secret.OwnerReferences {
		owner.Name, owner.UID = token.Name, token.UID
		secret.OwnerReferences = append(secret.OwnerReferences, owner)
	}
	secret.Annotations[v1alpha1.TokenNameAnnotation], secret.Annotations[v1alpha1.TokenUIDAnnotation] = token.Name, string(token.UID)
	secret.Annotations[v1alpha1.SecretNameAnnotation] = secret.Name
	secret.Data["jwt"] = []byte(jwt.Reveal())
	return secret
}
