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

// result is what happened when a plan was executed.
type result struct {
	clocks    clocks               // at the end: a call to Reactor may take 15 s
	record    *targetsecret.Record // of the token that is in the Secret now, if this reconcile wrote it
	version   string               // the resourceVersion of the Secret that this reconcile wrote
	issued    bool                 // the record is of a new token
	adopted   bool                 // and its Secret belongs to another owner that allows it
	repaired  bool                 // the Secret was repaired around the token that it has
	failed    *obstacle            // an attempt was made, and it failed
	unwritten bool                 // the API server refused the write of the Secret
	waiting   *obstacle            // no attempt was made: the request is queued, or the key is closed
	delivered bool                 // the token that is in the Secret has reached all programs that it is brought to
	changed   bool                 // an object changed during the reconcile: decide again
	notices   []notice.Notice      // to emit as events
	requeue   []requeue.Entry
	err       error // for the backoff of the controller's queue
	unread    error // why the API key could not be read; for the backoff of the controller's queue, too

	// What the operator remembers of the object from here on.
	held        *heldToken
	secret      checkedSecret
	received    received
	progress    rollout.Progress
	paid        targetsecret.RequestIdentity
	budgetSpent bool // a mint was paid by the budget
	repairSpent bool // a repair was paid by the budget of repairs
}

// attempted reports whether the reconcile has written the Secret, or tried to, or has to decide again before it can.
func (o *result) attempted() bool { return o.record != nil || o.unwritten || o.changed || o.err != nil }

// act executes a plan. Except for the status, only act writes.
func (r *Reconciler) act(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, planned plan) result {
	done := result{held: seen.held, secret: seen.checked, received: seen.received, progress: seen.progress, paid: seen.paid}
	switch planned.write {
	case writeMint:
		done = r.mint(ctx, token, seen, planned.cause, done)
	case writeHeld:
		done = r.store(ctx, token, seen, done)
	case writeNothing:
	}
	if planned.repair && !done.attempted() {
		done = r.repair(ctx, token, seen, planned, done)
	}
	if planned.write != writeMint {
		r.mintQueue.Cancel(client.ObjectKeyFromObject(token))
	}
	current := seen.target.Current()
	if !fits(done.held, token, seen) || (planned.cause == causeNone && current != nil && !current.ExpiresAt.Before(done.held.token.ExpiresAt)) {
		done.held = nil // it is not needed any more
	}
	if done.record != nil {
		current = done.record
	}
	done.clocks = r.timekeeper.clocksAt(r.clock.Now(), done.received.at(current))
	if current != nil && done.clocks.until(current.ExpiresAt, current) > 0 {
		done = r.removeLeftovers(ctx, token, seen, done)
		done = r.rollOut(ctx, token, seen, current, done)
	}
	if done.changed {
		done.requeue = append(done.requeue, requeue.Entry{After: retryBase, Reason: "an object changed during the reconcile"})
	}
	return done
}

// mint requests a token from Reactor, if the queue admits it, and writes it.
func (r *Reconciler) mint(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, why cause, done result) result {
	request := callRequest(token, seen, why)
	decision, keyStatus := r.mintQueue.Admit(request, seen.clocks.now)
	if decision != mintqueue.Admitted {
		done.waiting = waitObstacle(token, seen, decision, keyStatus)
		return done
	}
	key, current, err := r.keys.Get(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef)
	if err != nil || current != seen.key {
		r.mintQueue.Done(request, mintqueue.Outcome{Answer: mintqueue.AnswerNone}, r.clock.Now())
		done.unread, done.changed = err, true
		return done
	}
	wanted := demandOf(token, seen)
	if costsBudget(token, seen, why) {
		done.budgetSpent, done.paid = true, wanted
	}
	minted, err := r.minter.Mint(ctx, mintRequestOf(&token.Spec, key))
	// Before the outcome: it requeues the objects that wait for it, and they must find the new key.
	replaced, readErr := r.keyWasReplaced(ctx, token, seen, err)
	now := r.clock.Now()
	keyStatus = r.mintQueue.Done(request, outcomeOf(err), now)
	if replaced || readErr != nil {
		done.unread, done.changed = readErr, true
		return done
	}
	if err != nil {
		done.failed = mintObstacle(token, newFailedMint(token, seen, err, keyStatus, now))
		return done
	}
	if r.timekeeper.record(measurement{minted.ReceivedAt, minted.Skew}) {
		r.wakeAll(ctx)
	}
	done.paid = targetsecret.RequestIdentity{}
	done.held = &heldToken{demand: wanted, token: minted, tokenID: uuid.NewString()}
	return r.store(ctx, token, seen, done)
}

// newFailedMint describes a call to Reactor that failed now.
func newFailedMint(token *v1alpha1.ReactorToken, seen *observation, err error, key mintqueue.KeyStatus, now time.Time) *failedMint {
	failed := &failedMint{err: err, key: key, failures: failuresWith(token, seen), now: now}
	if refusedBefore(token, seen) && seen.status.LastFailure.FirstTime != nil {
		failed.since = seen.status.LastFailure.FirstTime.Time
	}
	if held := seen.target.Current(); held != nil {
		took := now.Sub(seen.clocks.now)
		failed.left = seen.clocks.until(held.ExpiresAt, held) - took
		failed.untilExpiring = untilExpiring(seen.clocks, held) - took
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
	ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, answer error,
) (bool, error) {
	if reactor.ClassOf(answer) != reactor.ClassKeyRefused {
		return false, nil
	}
	used := seen.key.Fingerprint
	_, current, err := r.keys.Reread(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef, used)
	return current.Fingerprint != used, err
}

// store writes the held token into the Secret. The token stays held until that succeeds, so that a write which is refused
// for an hour costs one mint.
func (r *Reconciler) store(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, done result) result {
	held := done.held
	written := targetsecret.NewRecord(held.token, held.tokenID, held.demand)
	adopted := seen.target.Adopted()
	version, err := r.write(ctx, targetsecret.Build(token, held.token.JWT, written, adopted), &seen.target)
	if err != nil {
		now := r.clock.Now()
		return writeFailed(token, seen, redact(err, held.token.JWT), now, held.token.Left(now), done)
	}
	done.held = nil
	done.received = received{held.tokenID, held.token.ReceivedAt}
	done.secret = checkedSecret{token.TargetSecretName(), version}
	done.record, done.version, done.issued = written, version, true
	done.adopted = adopted && seen.target.Record == nil
	return done
}

// repair writes the token that is in the Secret again, with everything around it as the spec wants it.
//
// The reconcile may have an obstacle of its own to report. What a mint waits for stays in status then, and a repair that failed is only tried
// again: one failure must not take the place of the other.
func (r *Reconciler) repair(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, planned plan, done result) result {
	done.repairSpent = true
	jwt := targetsecret.JWT(seen.target.Live)
	desired := targetsecret.Build(token, jwt, seen.target.Record, seen.target.Adopted())
	version, err := r.write(ctx, desired, &seen.target)
	if err == nil {
		done.secret = checkedSecret{token.TargetSecretName(), version}
		done.record, done.version, done.repaired = seen.target.Record, version, true
		return done
	}
	mintFailed := done.failed
	now, left := r.clock.Now(), seen.clocks.until(seen.target.Record.ExpiresAt, seen.target.Record)
	done = writeFailed(token, seen, redact(err, jwt), now, left, done)
	if done.unwritten && (mintFailed != nil || planned.obstacle != nil || done.waiting != nil) {
		done.failed = mintFailed
		done.requeue = append(done.requeue, requeue.Entry{After: writeBackoffCap, Reason: "the API server refused a repair of the Secret"})
	}
	return done
}

// write puts the desired Secret in place of what was seen, and returns its resourceVersion. The first write is a Create, so
// that a Secret which appeared meanwhile is not overwritten; later ones are applied with the UID and version that were seen.
func (r *Reconciler) write(ctx context.Context, desired targetsecret.Desired, seen *targetsecret.State) (string, error) {
	if !seen.Exists {
		created := desired.Object()
		if err := r.client.Create(ctx, created, client.FieldOwner(targetsecret.FieldOwner)); err != nil {
			return "", fmt.Errorf("creating Secret %s/%s: %w", desired.Namespace, desired.Name, err)
		}
		return created.ResourceVersion, nil
	}
	version, err := r.passToApplyManager(ctx, seen)
	if err != nil {
		return "", err
	}
	return r.apply(ctx, desired.ApplyConfiguration(seen.UID, version))
}

func (r *Reconciler) apply(ctx context.Context, secret *corev1ac.SecretApplyConfiguration) (string, error) {
	err := r.client.Apply(ctx, secret, client.FieldOwner(targetsecret.FieldOwner), client.ForceOwnership)
	if err != nil {
		return "", fmt.Errorf("applying Secret %s/%s: %w", *secret.Namespace, *secret.Name, err)
	}
	return *secret.ResourceVersion, nil
}

// passToApplyManager hands what our Create owns to our applies: otherwise the Create would own it for ever, and a key that is
// removed from the spec would stay in the Secret.
func (r *Reconciler) passToApplyManager(ctx context.Context, seen *targetsecret.State) (string, error) {
	if seen.Live == nil {
		return seen.ResourceVersion, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(seen.Live, sets.New(targetsecret.FieldOwner), targetsecret.FieldOwner)
	if err != nil || len(patch) == 0 {
		return seen.ResourceVersion, err
	}
	upgraded := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: seen.Live.Namespace, Name: seen.Live.Name}}
	if err := r.client.Patch(ctx, upgraded, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(targetsecret.FieldOwner)); err != nil {
		return "", fmt.Errorf("handing the managed fields of Secret %s/%s to server-side apply: %w",
			upgraded.Namespace, upgraded.Name, err)
	}
	return upgraded.ResourceVersion, nil
}

// writeFailed classifies a failed write of the Secret. The operator reports the failure in a condition and retries the write, whatever the cause:
// missing permission, a quota, an admission policy, an unavailable webhook, or a terminating namespace.
func writeFailed(token *v1alpha1.ReactorToken, seen *observation, err error, now time.Time, left time.Duration, done result) result {
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		done.secret = checkedSecret{token.TargetSecretName(), notChecked} // decide from a live read
		done.changed = true
	default:
		done.unwritten = true
		done.failed = writeObstacle(token, err, done.held != nil, failuresWith(token, seen), now, left)
	}
	return done
}

// removeLeftovers removes what was written under an earlier spec.secret.name, now that the new Secret holds a valid token.
func (r *Reconciler) removeLeftovers(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, done result) result {
	for _, secret := range seen.leftovers {
		if err := r.removeLeftover(ctx, token.Namespace, secret); apierrors.IsConflict(err) {
			done.changed = true
			continue
		} else if err != nil {
			done.err = errors.Join(done.err, client.IgnoreNotFound(err))
			continue
		}
		done.notices = append(done.notices, notice.Normal("SecretRemoved", "RemoveSecret",
			"removed the token from Secret %q, since spec.secret.name is %q now", secret.name, token.TargetSecretName()))
	}
	return done
}

func (r *Reconciler) removeLeftover(ctx context.Context, namespace string, secret leftoverSecret) error {
	var err error
	switch secret.what {
	case targetsecret.LeftoverDelete:
		gone := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secret.name}}
		err = r.client.Delete(ctx, gone, client.Preconditions{UID: &secret.uid, ResourceVersion: &secret.resourceVersion})
	case targetsecret.LeftoverStrip: // an apply that wants nothing removes all that we own
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
	ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, current *targetsecret.Record, done result,
) result {
	wanted := len(token.Spec.Restart) > 0 || token.Spec.PromptDelivery != nil
	switch {
	case seen.status.DeliveredTokenID == current.TokenID || !wanted:
		done.delivered = true
		return done
	case done.issued:
		done.requeue = append(done.requeue, requeue.Entry{After: 0, Reason: "the new token is rolled out"})
		return done
	}
	rolledOut := r.rollout.Continue(ctx, rollout.Input{
		Namespace: token.Namespace, SecretName: token.TargetSecretName(), TokenID: current.TokenID, Generation: token.Generation,
		Restart: token.Spec.Restart, Refresh: token.Spec.PromptDelivery, IsFirst: seen.status.DeliveredTokenID == "",
		Progress: done.progress, Now: done.clocks.now,
	})
	done.delivered, done.progress = rolledOut.Done, rolledOut.Progress
	done.notices = append(done.notices, rolledOut.Notices...)
	done.requeue = append(done.requeue, rolledOut.Requeue...)
	done.err = errors.Join(done.err, rolledOut.Err)
	return done
}

// redactedError shows an error's text without the secrets that it may quote.
type redactedError struct {
	text  string
	cause error
}

func redact(err error, known ...reactor.Secret) error {
	return &redactedError{text: reactor.Redact(err.Error(), known...), cause: err}
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }
