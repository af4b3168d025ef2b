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
	"github.com/reactor-operator/reactor-operator/internal/controller/notice"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// outcome is what became of a plan.
type outcome struct {
	clocks    clocks               // at the end of the acts: a call to Reactor may take 15 s
	record    *targetsecret.Record // of the token that is in the Secret now, when this pass wrote it
	version   string               // the resourceVersion of the Secret that this pass wrote
	issued    bool                 // the record is of a new token
	adopted   bool                 // and its Secret belongs to somebody else, who consented
	repaired  bool                 // the Secret was put right around the token that it has
	failed    *obstacle            // an attempt was made, and it failed
	unwritten bool                 // and it was the API server that did not take the Secret
	waiting   *obstacle            // no attempt was made: it is not our turn
	notices   []notice.Notice      // what else is to be told, as events
	delivered bool                 // the token that is in the Secret has reached all that it is to be handed to
	againAt   time.Time            // when a repair is tried again that failed beside a mint's own obstacle; zero: none did
	deliverAt time.Time            // when the delivery goes on; zero: when the pass is repeated, or never
	again     bool                 // the world changed under the pass: look again
	retry     error                // for the queue's backoff
	unread    error                // why the API key could not be read; for the queue's backoff, too
}

// wrote reports whether the pass has written the Secret, or tried to, or has to look again before it can.
func (o *outcome) wrote() bool { return o.record != nil || o.unwritten || o.again || o.retry != nil }

// act does what was planned. These are the only writes, the status apart.
func (r *Reconciler) act(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, seen *observation, planned plan) outcome {
	done := outcome{}
	switch planned.write {
	case writeMint:
		r.mint(ctx, token, mem, seen, planned.cause, &done)
	case writeHeld:
		r.store(ctx, token, mem, seen, &done)
	case writeNothing:
	}
	if planned.repair && !done.wrote() {
		r.repairBeside(ctx, token, mem, seen, planned, &done)
	}
	if planned.write != writeMint {
		r.mintQueue.Cancel(client.ObjectKeyFromObject(token))
	}
	current := seen.target.Current()
	if !seen.heldFits(token) || (planned.cause == causeNone && current != nil && !current.ExpiresAt.Before(seen.held.token.ExpiresAt)) {
		mem.held = nil // of no use any more
	}
	if done.record != nil {
		current = done.record
	}
	done.clocks = r.timekeeper.clocksAt(r.clock.Now(), mem.receivedAt(current))
	if current != nil && done.clocks.until(current.ExpiresAt, current) > 0 {
		r.removeLeftovers(ctx, token, seen, &done)
		r.delivery.deliver(ctx, token, mem, &seen.status, current, &done)
	}
	return done
}

// mint asks Reactor for a token, when it is our turn, and stores it.
func (r *Reconciler) mint(
	ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, seen *observation, why cause, done *outcome,
) {
	request := callRequest(token, seen, why)
	decision, keyStatus := r.mintQueue.Admit(request, seen.clocks.now)
	if decision != mintqueue.Admitted {
		done.waiting = waitObstacle(token, seen, decision, keyStatus)
		return
	}
	key, current, err := r.keys.Get(ctx, client.ObjectKeyFromObject(token), token.Spec.APIKeySecretRef)
	if err != nil || current != seen.key {
		r.mintQueue.Done(request, mintqueue.Outcome{Answer: mintqueue.AnswerNone}, r.clock.Now())
		done.unread, done.again = err, true
		return
	}
	wanted := demandOf(token, seen)
	if costsBudget(token, seen, why) {
		mem.budget.AllowN(seen.clocks.now, 1)
		mem.paid = wanted
	}
	minted, err := r.minter.Mint(ctx, mintRequestOf(&token.Spec, key))
	// Before the outcome: it requeues the objects that wait for it, and they must find the new key.
	replaced, readErr := r.keyWasReplaced(ctx, token, seen, err)
	now := r.clock.Now()
	keyStatus = r.mintQueue.Done(request, outcomeOf(err), now)
	if replaced || readErr != nil {
		done.unread, done.again = readErr, true
		return
	}
	if err != nil {
		done.failed = mintObstacle(token, newFailedMint(token, seen, err, keyStatus, now))
		return
	}
	if r.timekeeper.record(measurement{minted.ReceivedAt, minted.Skew}) {
		r.wakeAll(ctx)
	}
	mem.paid = targetsecret.RequestIdentity{}
	mem.held = &heldToken{RequestIdentity: wanted, token: minted, tokenID: uuid.NewString()}
	seen.held = mem.held
	r.store(ctx, token, mem, seen, done)
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
func (r *Reconciler) store(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, seen *observation, done *outcome) {
	held := mem.held
	written := targetsecret.NewRecord(held.token, held.tokenID, held.RequestIdentity)
	adopted := seen.target.Adopted()
	version, err := r.write(ctx, targetsecret.Build(token, held.token.JWT, written, adopted), &seen.target)
	if err != nil {
		left := held.token.Left(r.clock.Now())
		r.writeFailed(token, mem, seen, redact(err, held.token.JWT), left, done)
		return
	}
	mem.held = nil
	mem.received = received{held.tokenID, held.token.ReceivedAt}
	mem.secret = checkedSecret{token.TargetSecretName(), version}
	done.record, done.version, done.issued = written, version, true
	done.adopted = adopted && seen.target.Record == nil
}

// repairBeside repairs in a pass that may have an obstacle of its own to tell. What a mint waits for stays in status then, and a repair
// that failed beside it is only tried again: one failure must not take the place of the other.
func (r *Reconciler) repairBeside(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, seen *observation, planned plan, done *outcome) {
	mints := done.failed
	r.repair(ctx, token, mem, seen, done)
	if !done.unwritten || (mints == nil && planned.obstacle == nil && done.waiting == nil) {
		return
	}
	done.failed, done.againAt = mints, r.clock.Now().Add(writeBackoffCap)
}

// repair writes the token that is there once more, with everything around it as the spec wants it.
func (r *Reconciler) repair(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, seen *observation, done *outcome) {
	mem.repairs.AllowN(seen.clocks.now, 1)
	jwt := targetsecret.JWT(seen.target.Live)
	desired := targetsecret.Build(token, jwt, seen.target.Record, seen.target.Adopted())
	version, err := r.write(ctx, desired, &seen.target)
	if err != nil {
		left := seen.clocks.until(seen.target.Record.ExpiresAt, seen.target.Record)
		r.writeFailed(token, mem, seen, redact(err, jwt), left, done)
		return
	}
	mem.secret = checkedSecret{token.TargetSecretName(), version}
	done.record, done.version, done.repaired = seen.target.Record, version, true
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

// writeFailed sorts a failed write of the Secret. Whoever refused it, for whatever reason (no right, a quota, an admission
// policy, a webhook that does not answer, a namespace that is being deleted), people are told, and it is tried again.
func (r *Reconciler) writeFailed(
	token *v1alpha1.ReactorToken, mem *remembered, seen *observation, err error, left time.Duration, done *outcome,
) {
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		mem.secret = checkedSecret{token.TargetSecretName(), notChecked} // decide from a live read
		done.again = true
	default:
		done.unwritten = true
		done.failed = writeObstacle(token, err, mem.held != nil, failuresWith(token, seen), r.clock.Now(), left)
	}
}

// removeLeftovers removes what was written under an earlier spec.secret.name, now that the new Secret holds a valid token.
func (r *Reconciler) removeLeftovers(ctx context.Context, token *v1alpha1.ReactorToken, seen *observation, done *outcome) {
	for _, secret := range seen.leftovers {
		if err := r.removeLeftover(ctx, token.Namespace, secret); apierrors.IsConflict(err) {
			done.again = true // it changed meanwhile
			continue
		} else if err != nil {
			done.retry = errors.Join(done.retry, client.IgnoreNotFound(err))
			continue
		}
		done.notices = append(done.notices, notice.Normal("SecretRemoved", "RemoveSecret",
			"removed the token from Secret %q, since spec.secret.name is %q now", secret.name, token.TargetSecretName()))
	}
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
