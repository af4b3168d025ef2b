package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// namespace is where the demo's ReactorTokens are.
const namespace = "studio"

// look is what one read of the Kubernetes API showed of a ReactorToken and of its Secret.
type look struct {
	at        time.Time
	status    v1alpha1.ReactorTokenStatus
	secret    *corev1.Secret // nil: there is none
	expiresAt time.Time      // as the Secret tells it
	token     token          // of the Secret, decoded
	opaque    error          // why it could not be decoded
	problem   error          // why something else is missing

	looks, lapses int // during the wait that this look ended: how many there were, and how many saw no valid token
}

// look reads a ReactorToken, and the Secret of the same name.
func (d *demo) look(ctx context.Context, name string) look {
	seen := look{at: time.Now()}
	object := &v1alpha1.ReactorToken{}
	key := client.ObjectKey{Namespace: namespace, Name: name}
	err := d.stage.kube.Get(ctx, key, object)
	seen.status = object.Status
	secret := &corev1.Secret{}
	if problem := d.stage.kube.Get(ctx, key, secret); problem != nil {
		seen.problem = errors.Join(err, problem)
		return seen
	}
	seen.secret = secret
	seen.token, seen.opaque = decodeJWT(string(secret.Data["jwt"]))
	unix, parsing := strconv.ParseInt(string(secret.Data["expires_at"]), 10, 64)
	seen.expiresAt = time.Unix(unix, 0).UTC()
	seen.problem = errors.Join(err, parsing)
	return seen
}

// valid tells whether the Secret holds a token that has not expired.
func (l look) valid() bool {
	return l.secret != nil && l.problem == nil && len(l.secret.Data["jwt"]) > 0 && l.at.Before(l.expiresAt)
}

// left is how long the token is still valid.
func (l look) left() time.Duration { return l.expiresAt.Sub(l.at).Round(time.Second) }

// sameToken tells whether two looks saw the same JWT.
func (l look) sameToken(other look) bool {
	return l.secret != nil && other.secret != nil && string(l.secret.Data["jwt"]) == string(other.secret.Data["jwt"])
}

// name is what a person can tell two tokens apart by, without seeing either: the id in the JWT, which Reactor's ledger has too,
// or else the one that the operator gave it.
func (l look) name() string {
	if l.secret == nil {
		return "none"
	}
	return short(cmp.Or(l.token.id, l.secret.Annotations[v1alpha1.TokenIDAnnotation], "unnamed"))
}

// is tells whether a condition has a status and a reason.
func (l look) is(condition string, status metav1.ConditionStatus, reason string) bool {
	found := meta.FindStatusCondition(l.status.Conditions, condition)
	return found != nil && found.Status == status && found.Reason == reason
}

// condition is a condition as the table shows it.
func (l look) condition(condition string) string {
	found := meta.FindStatusCondition(l.status.Conditions, condition)
	if found == nil {
		return "no condition " + condition
	}
	return fmt.Sprintf("%s=%s %s", condition, found.Status, found.Reason)
}

// ready tells whether the token is there and the status says so.
func (l look) ready() bool {
	return l.valid() && l.is(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// holding is the token in the Secret, in a few words.
func (l look) holding() string {
	switch {
	case l.secret == nil:
		return "no Secret"
	case l.problem != nil:
		return l.problem.Error()
	case !l.valid():
		return "a token that expired at " + clockTime(l.expiresAt)
	default:
		return fmt.Sprintf("token %s, valid until %s", l.name(), clockTime(l.expiresAt))
	}
}

// continuity says whether there was a valid token all the time of the wait.
func (l look) continuity() string {
	if l.lapses > 0 {
		return fmt.Sprintf("%d of %d looks meanwhile saw no valid token.", l.lapses, l.looks)
	}
	return fmt.Sprintf("Each of %d looks meanwhile saw a valid token.", l.looks)
}

const (
	// patience is how long the demo waits for the operator to do what it does within a second or two.
	patience = 15 * time.Second
	// afterAMiss is how long it waits when the last wait was in vain: long enough for an operator that works.
	afterAMiss = 3 * time.Second
	// lookEvery is how often it looks while it waits.
	lookEvery = 50 * time.Millisecond
)

// patience is how long to wait next, where an operator that works needs no longer than this.
func (d *demo) patience(most time.Duration) time.Duration {
	if d.missed {
		return min(most, afterAMiss)
	}
	return most
}

// await looks at a ReactorToken until it is as wanted, or the patience is at its end. It returns the last look, and whether it
// was as wanted.
func (d *demo) await(ctx context.Context, name string, most time.Duration, wanted func(look) bool) (look, bool) {
	var last look
	looks, lapses := 0, 0
	ok := d.awaitThat(ctx, most, func(ctx context.Context) bool {
		last = d.look(ctx, name)
		looks++
		if !last.valid() {
			lapses++
		}
		return wanted(last)
	})
	last.looks, last.lapses = looks, lapses
	return last, ok
}

// awaitThat asks until the answer is yes, or the patience is at its end.
func (d *demo) awaitThat(ctx context.Context, most time.Duration, yes func(context.Context) bool) bool {
	most = d.patience(most)
	err := wait.PollUntilContextTimeout(ctx, lookEvery, most, true, func(ctx context.Context) (bool, error) { return yes(ctx), nil })
	d.missed = err != nil
	if d.missed && ctx.Err() == nil {
		d.say.bad("not seen within %s", seconds(most))
	}
	return !d.missed
}

// record adds a row to the table.
func (d *demo) record(what, expected, seen string, ok bool) {
	d.rows = append(d.rows, row{what: what, expected: expected, seen: seen, ok: ok})
}
