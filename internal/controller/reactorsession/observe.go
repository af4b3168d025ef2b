package reactorsession

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/apikey"
)

// observation is all that a decision is made from.
type observation struct {
	now    time.Time
	status v1alpha1.ReactorSessionStatus // the newest
	key    apikey.Key

	pod     *corev1.Pod            // of the current attempt
	others  []corev1.Pod           // of this session, and not of the current attempt
	foreign bool                   // a pod of somebody else has the name of the current attempt's
	orphans []corev1.Pod           // of an earlier session of this name, kept by our finalizer and by nothing else
	token   *v1alpha1.ReactorToken // of the current attempt
	taken   bool                   // a ReactorToken that this session does not control has the name of the current attempt's
	stale   []string               // the ReactorTokens of attempts that have ended

	managers []metav1.ManagedFieldsEntry // who manages the fields of the token, if some are not as requested

	skew      time.Duration // Reactor's clock minus ours, when the token was issued
	skewKnown bool          // the cache shows the Secret of that token, which has the skew

	ending *ending // how the current attempt ended, when an earlier pass has seen that

	released []types.UID // the pods that our finalizer was taken off last

	nextSince time.Time // since when this process knows the time of the next attempt
	slotSince time.Time // since when the session holds a slot without a pod that may run; zero: it holds none

	sightings  sightings // what this process has seen of the pods
	gatedUntil time.Time // when the pod was last seen held back from the scheduler; zero: it never was
}

// observe makes every read of the pass.
func (r *Reconciler) observe(ctx context.Context, session *v1alpha1.ReactorSession, mem *remembered) (*observation, error) {
	seen := &observation{now: r.clock.Now(), status: *session.Status.DeepCopy()}
	if err := r.observePods(ctx, session, seen); err != nil {
		return nil, err
	}
	mem.showLifted(seen.pod)
	mem.sightings = mem.sightings.see(seen.allPods(), seen.now)
	seen.sightings = mem.sightings
	seen.gatedUntil = mem.observeGates(seen.pod, seen.now)
	seen.released, seen.slotSince = mem.released, mem.slotSince
	seen.nextSince = mem.observeNext(seen.status.NextAttemptTime, seen.now)
	seen.ending = mem.endingOf(seen.status.CurrentAttempt)
	if err := r.observeTokens(ctx, session, seen); err != nil {
		return nil, err
	}
	if seen.token != nil {
		mem.tokenRefusals = 0
	}
	if err := r.observeManagers(ctx, session, mem, seen); err != nil {
		return nil, err
	}
	if err := r.observeSkew(ctx, seen); err != nil {
		return nil, err
	}
	var err error
	seen.key, err = r.keys.Lookup(ctx, client.ObjectKeyFromObject(session), session.Spec.APIKeySecretRef)
	return seen, err
}

// observePods finds the pods of the session. That the current attempt has none is believed only after a live read: a cache that lags
// must not make a second one.
func (r *Reconciler) observePods(ctx context.Context, session *v1alpha1.ReactorSession, seen *observation) error {
	pods := &corev1.PodList{}
	if err := r.cache.List(ctx, pods, client.InNamespace(session.Namespace), r.ofSession(session.UID)); err != nil {
		return fmt.Errorf("listing the pods of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	current := seen.status.CurrentAttempt
	for i := range pods.Items {
		if pod := &pods.Items[i]; current != nil && pod.Name == current.PodName {
			seen.pod = pod
		} else {
			seen.others = append(seen.others, *pod)
		}
	}
	orphans, err := r.orphansOf(ctx, client.ObjectKeyFromObject(session))
	if err != nil {
		return err
	}
	for i := range orphans {
		if orphans[i].Labels[SessionUIDLabel] != string(session.UID) {
			seen.orphans = append(seen.orphans, orphans[i])
		}
	}
	switch {
	case current == nil:
		return r.observeUnreleased(ctx, session, seen)
	case seen.pod == nil:
		seen.pod, seen.foreign, err = r.livePod(ctx, session, current.PodName)
	}
	return err
}

// observeUnreleased finds the pod of the last attempt when no cache shows it, and it may still be kept by our finalizer: somebody took its
// labels off, and no watch shows it any more. Those of the attempts before it were let go of before that one began.
func (r *Reconciler) observeUnreleased(ctx context.Context, session *v1alpha1.ReactorSession, seen *observation) error {
	if len(seen.status.RecentAttempts) == 0 || !hasFinalizer(session, CleanupFinalizer) {
		return nil
	}
	number := seen.status.RecentAttempts[0].Number
	name := attemptName(session, number)
	if slices.ContainsFunc(seen.others, func(pod corev1.Pod) bool { return pod.Name == name }) {
		return nil
	}
	pod, _, err := r.livePod(ctx, session, name)
	if pod != nil && hasFinalizer(pod, TrackingFinalizer) {
		pod.Labels = attemptLabels(session, number) // what it is known by from here on
		seen.others = append(seen.others, *pod)
	}
	return err
}

// livePod reads the session's pod of a name, whatever became of its labels; nil when there is none, or when it is somebody else's, which
// foreign says.
func (r *Reconciler) livePod(ctx context.Context, session *v1alpha1.ReactorSession, name string) (pod *corev1.Pod, foreign bool, err error) {
	live := &corev1.Pod{}
	err = r.live.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("reading the pod of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	case !metav1.IsControlledBy(live, session):
		return nil, true, nil
	}
	return live, false, nil
}

// ofSession selects what belongs to a session. The cache has an index for it. The API server, which a drain reads from, knows the label.
func (r *Reconciler) ofSession(uid types.UID) client.ListOption {
	if r.indexed {
		return client.MatchingFields{indexSession: string(uid)}
	}
	return client.MatchingLabels{SessionUIDLabel: string(uid)}
}

// observeTokens finds the ReactorTokens of the session's attempts. They are known by their names and their owner: another client may
// have removed their labels.
func (r *Reconciler) observeTokens(ctx context.Context, session *v1alpha1.ReactorSession, seen *observation) error {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := r.cache.List(ctx, tokens, client.InNamespace(session.Namespace), r.ofSession(session.UID)); err != nil {
		return fmt.Errorf("listing the ReactorTokens of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	current := seen.status.CurrentAttempt
	for i := range tokens.Items {
		token, number := &tokens.Items[i], attemptNamed(session, tokens.Items[i].Name)
		switch {
		case current != nil && token.Name == current.TokenName:
			seen.token = token
		case token.DeletionTimestamp == nil && number > 0 && number <= seen.status.Attempts:
			seen.stale = append(seen.stale, token.Name)
		}
	}
	if current == nil || current.TokenName == "" || seen.token != nil {
		return nil
	}
	token := &v1alpha1.ReactorToken{}
	err := r.cache.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: current.TokenName}, token)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("reading the ReactorToken of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	case metav1.IsControlledBy(token, session):
		seen.token = token
	default:
		seen.taken = true
	}
	return nil
}

// observeManagers reads who manages the fields of a token that is not as requested. The cache holds no managed fields, so this is a live
// read, one for each version of the token.
func (r *Reconciler) observeManagers(ctx context.Context, session *v1alpha1.ReactorSession, mem *remembered, seen *observation) error {
	if len(tokenChanges(session, seen)) == 0 {
		return nil
	}
	if mem.managers.version != seen.token.ResourceVersion {
		live := &v1alpha1.ReactorToken{}
		err := r.live.Get(ctx, client.ObjectKeyFromObject(seen.token), live)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading the managed fields of ReactorToken %s/%s: %w", seen.token.Namespace, seen.token.Name, err)
		}
		mem.managers.version, mem.managers.entries = seen.token.ResourceVersion, live.ManagedFields
	}
	seen.managers = mem.managers.entries
	return nil
}

// observeSkew finds out how far the clocks are apart, which the Secret of a token tells: what the token says about its expiry is by
// Reactor's.
func (r *Reconciler) observeSkew(ctx context.Context, seen *observation) error {
	if seen.token == nil || seen.token.Spec.Suspended() { // its age does not matter any more
		return nil
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	name := types.NamespacedName{Namespace: seen.token.Namespace, Name: seen.token.TargetSecretName()}
	err := r.cache.Get(ctx, name, secret)
	if err == nil && secret.DeletionTimestamp == nil && issuedAt(secret.Annotations).Equal(seen.token.Status.IssuedTime) {
		seen.skew, err = time.ParseDuration(secret.Annotations[v1alpha1.ClockSkewAnnotation])
		seen.skewKnown, err = err == nil, nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("looking up Secret %s, which holds the token of an attempt: %w", name, err)
	}
	return nil
}

// issuedAt is when the token in a Secret was issued; nil if the annotations do not say that.
func issuedAt(annotations map[string]string) *metav1.Time {
	at, err := time.Parse(time.RFC3339, annotations[v1alpha1.IssuedAtAnnotation])
	if err != nil {
		return nil
	}
	return &metav1.Time{Time: at}
}
