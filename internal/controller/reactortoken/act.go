package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// act executes a plan. Except for the status, only act writes.
func (r *Reconciler) act(ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, planned plan) actResult {
	result := actResult{pending: observed.pending, secret: observed.checked, received: observed.received, progress: observed.progress, paidFor: observed.paidFor}
	switch planned.write {
	case writeMint:
		result = r.mint(ctx, token, observed, planned.cause, result)
	case writePending:
		result = r.store(ctx, token, observed, result)
	case writeNothing:
	}
	if planned.repair && !result.attempted() {
		result = r.repairSecret(ctx, token, observed, planned, result)
	}
	if planned.write != writeMint {
		r.mintQueue.Cancel(client.ObjectKeyFromObject(token))
	}
	current := observed.target.Current()
	if !fits(result.pending, token, observed) || (planned.cause == causeNone && current != nil && !current.ExpiresAt.Before(result.pending.token.ExpiresAt)) {
		result.pending = nil // it is not needed any more
	}
	if result.record != nil {
		current = result.record
	}
	result.clocks = r.timekeeper.clocksAt(r.clock.Now(), result.received.at(current))
	if current != nil && result.clocks.until(current.ExpiresAt, current) > 0 {
		result = r.removeLeftovers(ctx, token, observed, result)
		result = r.rollOut(ctx, token, observed, current, result)
	}
	if result.changed {
		result.requeue = append(result.requeue, requeue.Entry{After: retryBase, Reason: "an object changed during the reconcile"})
	}
	return result
}

// mint requests a token from Reactor, if the queue admits it, and writes it.
func (r *Reconciler) mint(ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, why cause, result actResult) actResult {
	request := callRequest(token, observed, why)
	decision, keyStatus := r.mintQueue.Admit(request, observed.clocks.now)
	if decision != mintqueue.Admitted {
		result.waiting = waitObstacle(token, observed, decision, keyStatus)
		return result
	}
	key, current, err := r.keys.Get(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef)
	if err != nil || current != observed.key {
		r.mintQueue.Done(request, mintqueue.Outcome{Answer: mintqueue.AnswerNone}, r.clock.Now())
		result.unread, result.changed = err, true
		return result
	}
	wanted := identityOf(token, observed)
	if costsBudget(token, observed, why) {
		result.chargeMint, result.paidFor = true, wanted
	}
	minted, err := r.minter.Mint(ctx, mintRequestOf(&token.Spec, key))
	// Before the outcome: it requeues the objects that wait for it, and they must find the new key.
	replaced, readErr := r.keyWasReplaced(ctx, token, observed, err)
	now := r.clock.Now()
	keyStatus = r.mintQueue.Done(request, outcomeOf(err), now)
	if replaced || readErr != nil {
		result.unread, result.changed = readErr, true
		return result
	}
	if err != nil {
		result.failed = mintObstacle(token, newFailedMint(token, observed, err, keyStatus, now))
		return result
	}
	if r.timekeeper.record(measurement{minted.ReceivedAt, minted.Skew}) {
		r.requeueAll(ctx)
	}
	result.paidFor = targetsecret.RequestIdentity{}
	result.pending = &pendingToken{identity: wanted, token: minted, tokenID: uuid.NewString()}
	return r.store(ctx, token, observed, result)
}

// newFailedMint describes a call to Reactor that just failed.
func newFailedMint(token *v1alpha1.ReactorToken, observed *observation, err error, key mintqueue.KeyStatus, now time.Time) *failedMint {
	failed := &failedMint{err: err, key: key, failures: failuresWith(token, observed), now: now}
	if refusedBefore(token, observed) && observed.status.LastFailure.FirstTime != nil {
		failed.since = observed.status.LastFailure.FirstTime.Time
	}
	if current := observed.target.Current(); current != nil {
		took := now.Sub(observed.clocks.now)
		failed.left = observed.clocks.until(current.ExpiresAt, current) - took
		failed.untilExpiring = untilExpiring(observed.clocks, current) - took
	}
	return failed
}

// keyWasReplaced reports whether Reactor refused an API key that is no longer in its Secret. Scenario:
//  1. An operator of the account replaces the key in the Secret, and revokes the old one.
//  2. The watch lags: the cached metadata does not show the new version of the Secret yet.
//  3. A mint uses the old key, which is in memory, and Reactor answers 401.
//  4. This is the end of the old key. It does not mean that the new key is broken, so the refusal counts against the old key
//     only, is not reported, and the reconcile is repeated with the new key.
func (r *Reconciler) keyWasReplaced(
	ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, answer error,
) (bool, error) {
	if reactor.ClassOf(answer) != reactor.ClassKeyRefused {
		return false, nil
	}
	used := observed.key.Fingerprint
	_, current, err := r.keys.Reread(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef, used)
	return current.Fingerprint != used, err
}

// store writes the pending token into the Secret. The token stays pending until that succeeds, so that a write which the API server refuses for an
// hour costs one mint.
func (r *Reconciler) store(ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, result actResult) actResult {
	pending := result.pending
	written := targetsecret.NewRecord(pending.token, pending.tokenID, pending.identity)
	adopted := observed.target.Adopted()
	version, err := r.writeSecret(ctx, targetsecret.Build(token, pending.token.JWT, written, adopted), &observed.target)
	if err != nil {
		now := r.clock.Now()
		return writeFailed(token, observed, reactor.RedactError(err, pending.token.JWT), now, pending.token.Left(now), result)
	}
	result.pending = nil
	result.received = received{pending.tokenID, pending.token.ReceivedAt}
	result.secret = checkedSecret{token.TargetSecretName(), version}
	result.record, result.version, result.issued = written, version, true
	result.adopted = adopted && observed.target.Record == nil
	return result
}

// repairSecret writes the token that is in the Secret again, with everything around it as the spec requests it.
//
// The reconcile may have an obstacle of its own to report. What a mint waits for stays in status then, and a repair that failed is only tried
// again: one failure must not take the place of the other.
func (r *Reconciler) repairSecret(ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, planned plan, result actResult) actResult {
	result.chargeRepair = true
	jwt := targetsecret.JWT(observed.target.Live)
	desired := targetsecret.Build(token, jwt, observed.target.Record, observed.target.Adopted())
	version, err := r.writeSecret(ctx, desired, &observed.target)
	if err == nil {
		result.secret = checkedSecret{token.TargetSecretName(), version}
		result.record, result.version, result.repaired = observed.target.Record, version, true
		return result
	}
	mintFailed := result.failed
	now, left := r.clock.Now(), observed.clocks.until(observed.target.Record.ExpiresAt, observed.target.Record)
	result = writeFailed(token, observed, reactor.RedactError(err, jwt), now, left, result)
	if result.unwritten && (mintFailed != nil || planned.obstacle != nil || result.waiting != nil) {
		result.failed = mintFailed
		result.requeue = append(result.requeue, requeue.Entry{After: writeBackoffCap, Reason: "the API server refused a repair of the Secret"})
	}
	return result
}

// writeSecret writes the desired Secret over the observed one, and returns its resourceVersion. The first write is a Create, so that a Secret which
// was created meanwhile is not overwritten. Later ones are applied with the observed UID and resourceVersion.
func (r *Reconciler) writeSecret(ctx context.Context, desired targetsecret.Desired, observed *targetsecret.State) (string, error) {
	if !observed.Exists {
		created := desired.Object()
		if err := r.client.Create(ctx, created, client.FieldOwner(targetsecret.FieldOwner)); err != nil {
			return "", fmt.Errorf("creating Secret %s/%s: %w", desired.Namespace, desired.Name, err)
		}
		return created.ResourceVersion, nil
	}
	version, err := r.migrateManagedFields(ctx, observed)
	if err != nil {
		return "", err
	}
	return r.apply(ctx, desired.ApplyConfiguration(observed.UID, version))
}

func (r *Reconciler) apply(ctx context.Context, secret *corev1ac.SecretApplyConfiguration) (string, error) {
	err := r.client.Apply(ctx, secret, client.FieldOwner(targetsecret.FieldOwner), client.ForceOwnership)
	if err != nil {
		return "", fmt.Errorf("applying Secret %s/%s: %w", *secret.Namespace, *secret.Name, err)
	}
	return *secret.ResourceVersion, nil
}

// migrateManagedFields passes what the Create of the operator owns to its applies. Otherwise the Create would own it permanently, and a key that is
// removed from the spec would stay in the Secret.
func (r *Reconciler) migrateManagedFields(ctx context.Context, observed *targetsecret.State) (string, error) {
	if observed.Live == nil {
		return observed.ResourceVersion, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(observed.Live, sets.New(targetsecret.FieldOwner), targetsecret.FieldOwner)
	if err != nil || len(patch) == 0 {
		return observed.ResourceVersion, err
	}
	upgraded := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: observed.Live.Namespace, Name: observed.Live.Name}}
	if err := r.client.Patch(ctx, upgraded, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(targetsecret.FieldOwner)); err != nil {
		return "", fmt.Errorf("passing the managed fields of Secret %s/%s to server-side apply: %w",
			upgraded.Namespace, upgraded.Name, err)
	}
	return upgraded.ResourceVersion, nil
}

// writeFailed classifies a failed write of the Secret. The operator reports the failure in a condition and retries the write, whatever the cause:
// missing permission, a quota, an admission policy, an unavailable webhook, or a terminating namespace.
func writeFailed(token *v1alpha1.ReactorToken, observed *observation, err error, now time.Time, left time.Duration, result actResult) actResult {
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		result.secret = checkedSecret{token.TargetSecretName(), notChecked} // decide from a live read
		result.changed = true
	default:
		result.unwritten = true
		result.failed = writeObstacle(token, err, result.pending != nil, failuresWith(token, observed), now, left)
	}
	return result
}

// removeLeftovers removes what was written under an earlier spec.secret.name, now that the new Secret holds a valid token.
func (r *Reconciler) removeLeftovers(ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, result actResult) actResult {
	for _, secret := range observed.leftovers {
		if err := r.removeLeftover(ctx, token.Namespace, secret); apierrors.IsConflict(err) {
			result.changed = true
			continue
		} else if err != nil {
			result.err = errors.Join(result.err, client.IgnoreNotFound(err))
			continue
		}
		result.notices = append(result.notices, notice.Normal("SecretRemoved", "RemoveSecret",
			"removed the token from Secret %q, because spec.secret.name is now %q", secret.name, token.TargetSecretName()))
	}
	return result
}

func (r *Reconciler) removeLeftover(ctx context.Context, namespace string, secret leftoverSecret) error {
	var err error
	switch secret.what {
	case targetsecret.LeftoverDelete:
		gone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secret.name}}
		err = r.client.Delete(ctx, gone, client.Preconditions{UID: &secret.uid, ResourceVersion: &secret.resourceVersion})
	case targetsecret.LeftoverStrip: // an apply without any field removes all that the operator owns
		_, err = r.apply(ctx, corev1ac.Secret(secret.name, namespace).WithUID(secret.uid).WithResourceVersion(secret.resourceVersion))
	case targetsecret.LeftoverKeep:
	}
	if err != nil {
		return fmt.Errorf("removing the token from Secret %s/%s: %w", namespace, secret.name, err)
	}
	return nil
}

// rollOut brings the current token to the programs that would not read the changed Secret soon, unless status says that this is done. A token that
// this reconcile wrote is rolled out in the next one, which follows immediately, so that the rollout does not delay its status.
func (r *Reconciler) rollOut(
	ctx context.Context, token *v1alpha1.ReactorToken, observed *observation, current *targetsecret.Record, result actResult,
) actResult {
	wanted := len(token.Spec.Restart) > 0 || token.Spec.PromptDelivery != nil
	switch {
	case observed.status.DeliveredTokenID == current.TokenID || !wanted:
		result.delivered = true
		return result
	case result.issued:
		result.requeue = append(result.requeue, requeue.Entry{After: 0, Reason: "the new token is rolled out"})
		return result
	}
	rolledOut := r.rollout.Continue(ctx, rollout.Input{
		Namespace: token.Namespace, SecretName: token.TargetSecretName(), TokenID: current.TokenID, Generation: token.Generation,
		Restart: token.Spec.Restart, Refresh: token.Spec.PromptDelivery, IsFirst: observed.status.DeliveredTokenID == "",
		Progress: result.progress, Now: result.clocks.now,
	})
	result.delivered, result.progress = rolledOut.Done, rolledOut.Progress
	result.notices = append(result.notices, rolledOut.Notices...)
	result.requeue = append(result.requeue, rolledOut.Requeue...)
	result.err = errors.Join(result.err, rolledOut.Err)
	return result
}
