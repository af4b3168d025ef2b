package reactorsession

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// observation is all that a decision is made from.
type observation struct {
	now    time.Time
	status v1alpha1.ReactorSessionStatus // the newest
	key    apikey.Key

	pod   *corev1.Pod            // of the current attempt
	pods  []attempts.Pod         // all pods that concern the session, each with its class
	token *v1alpha1.ReactorToken // of the current attempt
	taken bool                   // a ReactorToken that this session does not control has the name of the current attempt's
	stale []string               // the ReactorTokens of attempts that have ended

	managers []metav1.ManagedFieldsEntry // who manages the fields of the token, if some are not as requested

	skew      time.Duration // Reactor's clock minus ours, when the token was issued
	skewKnown bool          // the cache shows the Secret of that token, which has the skew

	ending *outcome.Outcome // how the current attempt ended, when an earlier pass has seen that

	nextSince time.Time // since when this process knows the time of the next attempt
	slotSince time.Time // since when the session holds a slot without a pod that may run; zero: it holds none

	sightings  attempts.PodTimesByUID // what this process has seen of the pods
	gatedUntil time.Time              // when the pod was last seen held back from the scheduler; zero: it never was
}

// observe makes every read of the pass.
func (r *Reconciler) observe(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState) (*observation, error) {
	seen := &observation{now: r.clock.Now(), status: *session.Status.DeepCopy()}
	pods, err := r.observePods(ctx, session, &seen.status)
	if err != nil {
		return nil, err
	}
	seen.pods = attempts.Classify(session, &seen.status, pods, mem.released)
	if current := seen.podsOf(attempts.Current); len(current) > 0 {
		seen.pod = current[0]
	}
	mem.showLifted(seen.pod)
	mem.sightings = mem.sightings.Update(seen.ownPods(), seen.now)
	seen.sightings = mem.sightings
	seen.gatedUntil = mem.observeGates(seen.pod, seen.now)
	seen.slotSince = mem.slotSince
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
	seen.key, err = r.keys.Lookup(ctx, client.ObjectKeyFromObject(session), session.Spec.APIKeySecretRef)
	return seen, err
}

// observePods finds the pods of the session, and those that an earlier session of its name left.
func (r *Reconciler) observePods(ctx context.Context, session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus) ([]corev1.Pod, error) {
	found, err := r.lister.Pods(ctx, session)
	if err != nil {
		return nil, err
	}
	unlisted, err := r.unlistedPod(ctx, session, status, found)
	if err != nil {
		return nil, err
	}
	kept, err := r.lister.KeptPods(ctx, client.ObjectKeyFromObject(session))
	if err != nil {
		return nil, err
	}
	for i := range kept { // KeptPods returns the session's own pods, too
		if pod := &kept[i]; pod.Labels[attempts.SessionUIDLabel] != string(session.UID) && !metav1.IsControlledBy(pod, session) {
			found = append(found, *pod)
		}
	}
	return append(found, unlisted...), nil
}

// unlistedPod reads the pod of the current attempt live when the cache does not show it: a cache that lags must not cause a second pod. Without
// a current attempt, it reads the pod of the last attempt, which our finalizer may still keep, although another client removed its labels and
// no watch shows it. The pods of earlier attempts were released before that attempt started. It returns at most one pod.
func (r *Reconciler) unlistedPod(
	ctx context.Context, session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, listed []corev1.Pod,
) ([]corev1.Pod, error) {
	name, last := "", int32(0)
	switch {
	case status.CurrentAttempt != nil:
		name = status.CurrentAttempt.PodName
	case len(status.RecentAttempts) > 0 && attempts.HasFinalizer(session, attempts.CleanupFinalizer):
		last = status.RecentAttempts[0].Number
		name = attempts.Name(session, last)
	default:
		return nil, nil
	}
	if slices.ContainsFunc(listed, func(pod corev1.Pod) bool { return pod.Name == name }) {
		return nil, nil
	}
	live := &corev1.Pod{}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the pod of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	case status.CurrentAttempt != nil:
		return []corev1.Pod{*live}, nil
	case !metav1.IsControlledBy(live, session) || !attempts.HasFinalizer(live, attempts.TrackingFinalizer):
		return nil, nil
	}
	live.Labels = attempts.Labels(session, last) // the operator identifies the pod by them in the rest of the reconcile
	return []corev1.Pod{*live}, nil
}

// observeTokens finds the ReactorTokens of the session's attempts. They are known by their names and their owner: another client may
// have removed their labels.
func (r *Reconciler) observeTokens(ctx context.Context, session *v1alpha1.ReactorSession, seen *observation) error {
	tokens, err := r.lister.Tokens(ctx, session)
	if err != nil {
		return err
	}
	current := seen.status.CurrentAttempt
	for i := range tokens {
		token, number := &tokens[i], attempts.NumberOf(session, tokens[i].Name)
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
	err = r.cache.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: current.TokenName}, token)
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
func (r *Reconciler) observeManagers(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) error {
	if len(seen.tokenChanges(session)) == 0 {
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
