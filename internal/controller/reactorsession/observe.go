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
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// observation is all that a decision is made from.
type observation struct {
	now    time.Time
	state  objectState                   // what the operator knows about the object, with what it observed now
	status v1alpha1.ReactorSessionStatus // the newest
	key    apikey.Key

	pod   *corev1.Pod            // of the current attempt
	pods  []attempts.Pod         // all pods that concern the session, each with its class
	token *v1alpha1.ReactorToken // of the current attempt
	taken bool                   // a ReactorToken that this session does not control has the name of the current attempt's
	stale []string               // the ReactorTokens of attempts that have ended

	managers []metav1.ManagedFieldsEntry // the managers of the token's fields, if some are not as requested

	skew      time.Duration // Reactor's clock minus ours, when the token was issued
	skewKnown bool          // the cache shows the Secret of that token, which has the skew

	ending *outcome.Outcome // how the current attempt ended, if its cleanup has started

	slotSince time.Time // since when the session has a slot without a pod that may run; zero: it has none
	heldUntil time.Time // when scheduling gates held the pod back last; zero: they never did
}

// observe makes every read of the reconcile. With an error, the observation has the state as far as it is known.
func (r *Reconciler) observe(ctx context.Context, session *v1alpha1.ReactorSession, state objectState) (*observation, error) {
	observed := &observation{now: r.clock.Now(), state: state, status: *session.Status.DeepCopy()}
	pods, err := r.observePods(ctx, session, &observed.status)
	if err != nil {
		return observed, err
	}
	observed.pods = attempts.Classify(session, &observed.status, pods, state.released)
	if current := observed.podsOf(attempts.Current); len(current) > 0 {
		observed.pod = withoutRemovedGate(current[0], state.gateRemoved)
	}
	observed.state.podTimes = state.podTimes.Update(observed.ownPods(), observed.now)
	observed.state.gates, observed.heldUntil = state.gates.observe(observed.pod, observed.now)
	observed.state.next = state.next.observe(observed.status.NextAttemptTime, observed.now)
	observed.slotSince = r.capacity.AdmittedAt(session.UID)
	if current := observed.status.CurrentAttempt; current != nil && current.Number == state.cleanup.Attempt {
		observed.ending = state.cleanup.Outcome
	}
	if err := r.observeTokens(ctx, session, observed); err != nil {
		return observed, err
	}
	if observed.token != nil {
		observed.state.tokenRefusals = 0
	}
	if err := r.observeManagers(ctx, session, observed); err != nil {
		return observed, err
	}
	if err := r.observeSkew(ctx, observed); err != nil {
		return observed, err
	}
	observed.key, err = r.keys.Lookup(ctx, client.ObjectKeyFromObject(session), session.Spec.APIKeySecretRef)
	return observed, err
}

// podsOf returns the pods of some classes.
func (o *observation) podsOf(classes ...attempts.Class) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range o.pods {
		if slices.Contains(classes, pod.Class) {
			pods = append(pods, pod.Pod)
		}
	}
	return pods
}

// ownPods are all pods of the session, that of the current attempt first.
func (o *observation) ownPods() []*corev1.Pod {
	var pods []*corev1.Pod
	if o.pod != nil {
		pods = append(pods, o.pod)
	}
	return append(pods, o.podsOf(attempts.Stray, attempts.Recorded, attempts.Unrecorded, attempts.Outdated, attempts.Released)...)
}

// isIdle reports whether the session has neither an attempt nor a pod that may run.
func (o *observation) isIdle() bool {
	return o.status.CurrentAttempt == nil && len(o.podsOf(attempts.Stray)) == 0
}

// isOutdated reports whether the spec requests another credential than the attempt that waits was started with.
func (o *observation) isOutdated(session *v1alpha1.ReactorSession) bool {
	return attempts.IsOutdated(session, &o.status, o.token, o.pod)
}

// tokenChanges are the fields in which the token of the current attempt differs from what the attempt requested.
func (o *observation) tokenChanges(session *v1alpha1.ReactorSession) []attempts.FieldChange {
	return attempts.TokenChanges(session, &o.status, o.token, o.pod)
}

// isQueued reports whether gates hold the pod of the current attempt back, or will when it exists.
func (o *observation) isQueued(session *v1alpha1.ReactorSession) bool {
	if o.pod == nil {
		return attempts.ExpectsGates(&session.Spec.Template)
	}
	return attempts.AwaitsToken(o.pod)
}

// keyOfAttempt is the fingerprint of the API key that the program of the current attempt has or gets: while there is no pod, or scheduling gates
// hold it back, the key that is in the Secret now. Empty if neither is known.
func (o *observation) keyOfAttempt() string {
	attempt := o.status.CurrentAttempt
	started := attempt != nil && (attempt.PodUID != "" || o.pod != nil) && !attempts.IsGated(o.pod)
	if started && attempt.KeyFingerprint != "" || o.key.Fingerprint == "" && attempt != nil {
		return attempt.KeyFingerprint
	}
	return o.key.Fingerprint
}

// withoutRemovedGate returns a pod from the cache without the operator's scheduling gate, if the operator has removed it from that pod.
func withoutRemovedGate(pod *corev1.Pod, removed types.UID) *corev1.Pod {
	if pod.UID != removed {
		return pod
	}
	newest := pod.DeepCopy()
	newest.Spec.SchedulingGates = slices.DeleteFunc(newest.Spec.SchedulingGates, attempts.IsTokenGate)
	return newest
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
func (r *Reconciler) observeTokens(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) error {
	tokens, err := r.lister.Tokens(ctx, session)
	if err != nil {
		return err
	}
	current := observed.status.CurrentAttempt
	for i := range tokens {
		token, number := &tokens[i], attempts.NumberOf(session, tokens[i].Name)
		switch {
		case current != nil && token.Name == current.TokenName:
			observed.token = token
		case token.DeletionTimestamp == nil && number > 0 && number <= observed.status.Attempts:
			observed.stale = append(observed.stale, token.Name)
		}
	}
	if current == nil || current.TokenName == "" || observed.token != nil {
		return nil
	}
	token := &v1alpha1.ReactorToken{}
	err = r.cache.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: current.TokenName}, token)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("reading the ReactorToken of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	case metav1.IsControlledBy(token, session):
		observed.token = token
	default:
		observed.taken = true
	}
	return nil
}

// observeManagers reads the managers of the fields of a token that is not as requested. The cache holds no managed fields, so this is a live
// read, one for each version of the token.
func (r *Reconciler) observeManagers(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) error {
	if len(observed.tokenChanges(session)) == 0 {
		return nil
	}
	token := observed.token
	if observed.state.managers.version != token.ResourceVersion {
		live := &v1alpha1.ReactorToken{}
		err := r.live.Get(ctx, client.ObjectKeyFromObject(token), live)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading the managed fields of ReactorToken %s/%s: %w", token.Namespace, token.Name, err)
		}
		observed.state.managers = observedManagers{version: token.ResourceVersion, entries: live.ManagedFields}
	}
	observed.managers = observed.state.managers.entries
	return nil
}

// observeSkew reads how far the clocks are apart from the Secret of the token. The expiry of the token is by Reactor's clock.
func (r *Reconciler) observeSkew(ctx context.Context, observed *observation) error {
	token := observed.token
	if token == nil || token.Spec.Suspended() { // its age does not matter anymore
		return nil
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	name := types.NamespacedName{Namespace: token.Namespace, Name: token.TargetSecretName()}
	err := r.cache.Get(ctx, name, secret)
	if err == nil && secret.DeletionTimestamp == nil && targetsecret.IssuedAt(secret.Annotations).Equal(token.Status.IssuedTime) {
		observed.skew, err = time.ParseDuration(secret.Annotations[v1alpha1.ClockSkewAnnotation])
		observed.skewKnown, err = err == nil, nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("looking up Secret %s, which holds the token of an attempt: %w", name, err)
	}
	return nil
}
