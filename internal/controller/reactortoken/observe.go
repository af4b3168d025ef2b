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

// leftoverSecret is a Secret that this ReactorToken wrote and no longer writes, since spec.secret.name changed.
type leftoverSecret struct {
	name            string
	uid             types.UID
	resourceVersion string
	what            targetsecret.Leftover
}

// observe makes every Kubernetes read of the reconcile, except a read of the API key that is not in memory when it is used, or that
// Reactor refuses. Metadata comes from the cache; a payload is read live, and only when the metadata does not answer the question.
func (r *Reconciler) observe(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered) (*observation, error) {
	status, _, _ := mem.status.latest(token)
	seen := &observation{status: *status.DeepCopy(), apiURL: r.apiURL, held: mem.held, received: mem.received, progress: mem.progress, paid: mem.paid}
	var err error
	if seen.target, seen.checked, err = r.observeTarget(ctx, token, mem.secret, &seen.status); err != nil {
		return nil, err
	}
	if !seen.target.Exists && hadToken(&seen.status) {
		if seen.gone, err = r.isGone(ctx, token); err != nil {
			return nil, err
		}
	}
	if seen.key, err = r.keys.Lookup(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef); err != nil {
		return nil, err
	}
	if seen.claimedBy, err = r.observeRivals(ctx, token, &seen.target); err != nil {
		return nil, err
	}
	if seen.leftovers, err = r.observeLeftovers(ctx, token); err != nil {
		return nil, err
	}
	seen.clocks = r.timekeeper.clocksAt(r.clock.Now(), mem.received.at(seen.target.Record))
	seen.budgetUntil = spentUntil(mem.budget, seen.clocks.now)
	seen.repairUntil = spentUntil(mem.repairs, seen.clocks.now)
	if reasonIf(&seen.status, v1alpha1.ConditionRenewed, metav1.ConditionFalse) == v1alpha1.ReasonSecretContested {
		seen.calmAt = refilledTo(mem.repairs, repairCalm, seen.clocks.now)
	}
	return seen, nil
}

// isGone asks whether the ReactorToken was deleted. Garbage collection takes its Secret then, and that may be seen before the
// ReactorToken's own end: two watches keep no order between them.
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

// observeRivals finds the ReactorToken that has a better right to the target Secret: the one that writes it already, else
// the older one. It returns "" when there is none, as when the Secret itself names the one that may write it.
func (r *Reconciler) observeRivals(ctx context.Context, token *v1alpha1.ReactorToken, seen *targetsecret.State) (string, error) {
	if seen.Exists && (seen.Ownership == targetsecret.Ours || seen.Ownership == targetsecret.Consenting) {
		return "", nil
	}
	rivals, err := r.tokensWritingTo(ctx, types.NamespacedName{Namespace: token.Namespace, Name: token.TargetSecretName()})
	if err != nil {
		return "", err
	}
	return claimant(token, rivals, seen.Writer), nil
}

// claimant names the one of several ReactorTokens with one target Secret that has the right to it: the writer that the Secret
// names, else the oldest. It returns "" when that is the token itself.
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

// older compares by creation, which has whole seconds, and then by UID, so that two always agree on which is older.
func older(one, other *v1alpha1.ReactorToken) bool {
	if !one.CreationTimestamp.Equal(&other.CreationTimestamp) {
		return one.CreationTimestamp.Before(&other.CreationTimestamp)
	}
	return one.UID < other.UID
}

// observeLeftovers finds the Secrets that this ReactorToken wrote under another name than the one in its spec. The Secrets
// themselves say so, so that a crash in the middle of a change of name leaves nothing behind.
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

func secretMetadata() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return meta
}
