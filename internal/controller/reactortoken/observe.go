package reactortoken

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// observe makes every Kubernetes read of the reconcile, except a read of the API key that is not in memory when it is used, or that
// Reactor refuses. Metadata comes from the cache; a payload is read live, and only when the metadata does not answer the question.
func (r *Reconciler) observe(ctx context.Context, token *v1alpha1.ReactorToken, state *objectState) (*observation, error) {
	status, _, _ := state.status.latest(token)
	observed := &observation{
		status: *status.DeepCopy(), apiURL: r.apiURL,
		pending: state.pending, received: state.received, progress: state.progress, paidFor: state.paidFor,
	}
	var err error
	if observed.target, observed.checked, err = r.observeTarget(ctx, token, state.secret, &observed.status); err != nil {
		return nil, err
	}
	if !observed.target.Exists && hadToken(&observed.status) {
		if observed.isDeleted, err = r.isGone(ctx, token); err != nil {
			return nil, err
		}
	}
	if observed.key, err = r.keys.Lookup(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef); err != nil {
		return nil, err
	}
	if observed.claimedBy, err = r.observeRivals(ctx, token, &observed.target); err != nil {
		return nil, err
	}
	if observed.leftovers, err = r.observeLeftovers(ctx, token); err != nil {
		return nil, err
	}
	observed.clocks = r.timekeeper.clocksAt(r.clock.Now(), state.received.at(observed.target.Record))
	observed.budgetUntil = spentUntil(state.budget, observed.clocks.now)
	observed.repairUntil = spentUntil(state.repairs, observed.clocks.now)
	if reasonIf(&observed.status, v1alpha1.ConditionRenewed, metav1.ConditionFalse) == v1alpha1.ReasonSecretContested {
		observed.contestEndsAt = refilledTo(state.repairs, repairCalm, observed.clocks.now)
	}
	return observed, nil
}

// isGone reads live whether the ReactorToken was deleted. Garbage collection then deletes its Secret, and the cache may show that first, because two
// watches have no common order.
func (r *Reconciler) isGone(ctx context.Context, token *v1alpha1.ReactorToken) (bool, error) {
	live := &v1alpha1.ReactorToken{}
	err := r.live.Get(ctx, client.ObjectKeyFromObject(token), live)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading ReactorToken %s/%s: %w", token.Namespace, token.Name, err)
	}
	return live.UID != token.UID || !live.DeletionTimestamp.IsZero(), nil
}

// observeTarget observes the target Secret. The cached metadata is enough while it shows the version that was written or checked last, for the spec
// of the last reconcile. Anything else needs one live read. It returns the version that does not have to be checked again, too.
func (r *Reconciler) observeTarget(
	ctx context.Context, token *v1alpha1.ReactorToken, checked checkedSecret, status *v1alpha1.ReactorTokenStatus,
) (targetsecret.State, checkedSecret, error) {
	name := types.NamespacedName{Namespace: token.Namespace, Name: token.TargetSecretName()}
	known := checked.name == name.Name && checked.resourceVersion != ""
	meta := secretMetadata()
	err := r.cache.Get(ctx, name, meta)
	switch {
	case apierrors.IsNotFound(err) && !known:
		return targetsecret.State{}, checked, nil // the first write is a Create, which does not overwrite what the cache does not show yet
	case err != nil && !apierrors.IsNotFound(err):
		return targetsecret.State{}, checked, fmt.Errorf("looking up the target Secret %s: %w", name, err)
	case err == nil && known && checked.resourceVersion == meta.ResourceVersion && status.ObservedGeneration == token.Generation:
		return targetsecret.FromMetadata(meta, token), checked, nil
	}
	return r.readTarget(ctx, token, name)
}

// notChecked is the version of a Secret that exists, whatever the cache shows, and has to be read live again.
const notChecked = "not checked"

// readTarget reads the target Secret live.
func (r *Reconciler) readTarget(
	ctx context.Context, token *v1alpha1.ReactorToken, name types.NamespacedName,
) (targetsecret.State, checkedSecret, error) {
	live := &corev1.Secret{}
	err := r.live.Get(ctx, name, live)
	if apierrors.IsNotFound(err) {
		return targetsecret.State{}, checkedSecret{}, nil
	}
	if err != nil {
		return targetsecret.State{}, checkedSecret{}, fmt.Errorf("reading the target Secret %s: %w", name, err)
	}
	state := targetsecret.Inspect(live, token)
	if state.IsUpToDate() {
		return state, checkedSecret{name.Name, state.ResourceVersion}, nil
	}
	return state, checkedSecret{name.Name, notChecked}, nil
}

// observeRivals finds the other ReactorToken that may write the target Secret: the one that writes it already, otherwise the oldest one. It returns ""
// if there is none, or if the Secret names this one.
func (r *Reconciler) observeRivals(ctx context.Context, token *v1alpha1.ReactorToken, observed *targetsecret.State) (string, error) {
	if observed.Exists && (observed.Ownership == targetsecret.Ours || observed.Ownership == targetsecret.Consenting) {
		return "", nil
	}
	rivals, err := r.tokensWritingTo(ctx, types.NamespacedName{Namespace: token.Namespace, Name: token.TargetSecretName()})
	if err != nil {
		return "", err
	}
	return claimant(token, rivals, observed.Writer), nil
}

// claimant names the one of several ReactorTokens with one target Secret that may write it: the writer that the Secret names, otherwise the oldest.
// It returns "" if that is the token itself.
func claimant(token *v1alpha1.ReactorToken, rivals []v1alpha1.ReactorToken, writer string) string {
	oldest := token
	for i := range rivals {
		rival := &rivals[i]
		if rival.UID == token.UID || !rival.DeletionTimestamp.IsZero() {
			continue
		}
		if rival.Name == writer {
			return writer
		}
		if older(rival, oldest) {
			oldest = rival
		}
	}
	if oldest == token {
		return ""
	}
	return oldest.Name
}

// older compares by creation time, which has whole seconds, and then by UID, so that the result is the same for both objects.
func older(one, other *v1alpha1.ReactorToken) bool {
	if !one.CreationTimestamp.Equal(&other.CreationTimestamp) {
		return one.CreationTimestamp.Before(&other.CreationTimestamp)
	}
	return one.UID < other.UID
}

// observeLeftovers finds the Secrets that this ReactorToken wrote under another name than the one in its spec. Their annotations show that, so that a
// crash during a change of the name leaves nothing behind.
func (r *Reconciler) observeLeftovers(ctx context.Context, token *v1alpha1.ReactorToken) ([]leftoverSecret, error) {
	written, err := r.secretsWrittenFor(ctx, types.NamespacedName{Namespace: token.Namespace, Name: token.Name})
	if err != nil {
		return nil, err
	}
	var found []leftoverSecret
	for i := range written {
		secret := &written[i]
		what := targetsecret.LeftoverOf(secret, token.Name, token.UID)
		if secret.Name != token.TargetSecretName() && what != targetsecret.LeftoverKeep {
			found = append(found, leftoverSecret{secret.Name, secret.UID, secret.ResourceVersion, what})
		}
	}
	return found, nil
}

// What is looked up here is the cache's own: nothing of it may be changed.
