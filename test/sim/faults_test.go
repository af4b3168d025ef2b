package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// faults are what the requests of the operator to the API server meet.
type faults struct {
	world *world

	mu        sync.Mutex
	away      time.Time // until then nobody answers
	slow      time.Duration
	refused   time.Time // until then, writes of refusedKind are refused with refusal
	kind      string
	refusal   string
	planned   []plannedFault
	failed    time.Time // when a Secret was last not written
	changed   time.Time // until then, a policy changes the tokens of sessions in this way
	tampering string
	denied    time.Time // until then, a webhook denies patches of pods
}

// holdTokens reports whether tokens may wait in the operator's memory: a Secret was not written, so short a while ago that this need not have
// been tried again.
func (f *faults) holdTokens() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.failed.Add(afterWrites))
}

// plannedFault strikes one write of a kind: the count-th from when it was planned.
type plannedFault struct {
	kind  string
	count int
	how   string
}

// The ways in which one write goes wrong.
const (
	crashBefore = "crash before"
	crashAfter  = "crash after"
	lost        = "lost"
	answerLost  = "answer lost"
	conflicting = "conflict"
)

// errAway is what a request meets when the API server does not answer.
var errAway = errors.New("dial tcp 10.0.0.1:443: connect: connection refused")

// meet decides what becomes of a request.
func (f *faults) meet(ctx context.Context, asked apimodel.Request, do func() error) error {
	if !strings.HasPrefix(asked.User, "operator-") {
		return f.done(asked, do())
	}
	err := f.meetOperator(ctx, asked, do)
	if err != nil && asked.Writes() && asked.Kind == "Secret" {
		f.change(func(f *faults) { f.failed = time.Now() })
	}
	return err
}

// meetOperator decides what becomes of a request of the operator.
func (f *faults) meetOperator(ctx context.Context, asked apimodel.Request, do func() error) error {
	r := f.world.runOf(asked.User)
	if r.crashed.Load() {
		if asked.Verb == "list" || asked.Verb == "watch" { // see crash
			return do()
		}
		return errCrashed
	}
	if err := f.wait(ctx, asked); err != nil {
		return err
	}
	if r.crashed.Load() {
		return errCrashed
	}
	f.world.judge.requested(asked)
	if !asked.Writes() {
		return do()
	}
	how := f.strike(asked.Kind)
	if how != "" {
		f.world.judge.strike(everything, how, afterWrites)
	}
	switch how {
	case crashBefore:
		r.crash()
		return errCrashed
	case lost:
		return errAway
	case conflicting:
		return apierrors.NewConflict(schema.GroupResource{Resource: asked.Kind}, asked.Name, errors.New("the object has been modified"))
	}
	if err := f.refusedNow(asked); err != nil {
		return err
	}
	before := f.world.judge.beforeWrite(asked)
	err := f.done(asked, do())
	if err == nil {
		f.world.judge.afterWrite(asked, before)
	}
	if err == nil && asked.Verb == apimodel.VerbCreate && asked.Kind == "ReactorToken" {
		f.changeToken(asked.Name)
	}
	switch how {
	case crashAfter:
		r.crash()
		return errCrashed
	case answerLost:
		return errAway
	}
	return err
}

// done takes note of a write.
func (f *faults) done(asked apimodel.Request, err error) error {
	if asked.Writes() {
		f.world.wrote.Add(1)
	}
	return err
}

// wait lets a request take its time, and fails it while nobody answers.
func (f *faults) wait(ctx context.Context, _ apimodel.Request) error {
	f.mu.Lock()
	slow, away := f.slow, time.Now().Before(f.away)
	f.mu.Unlock()
	if away {
		return errAway
	}
	if slow == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(slow):
		return nil
	}
}

// strike tells which planned fault this write meets, and counts it.
func (f *faults) strike(kind string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	how := ""
	left := f.planned[:0]
	for _, p := range f.planned {
		if p.kind == kind || p.kind == "" {
			p.count--
			if p.count <= 0 && how == "" {
				how = p.how
				continue
			}
		}
		left = append(left, p)
	}
	f.planned = left
	return how
}

func (f *faults) refusedNow(asked apimodel.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.denied) && asked.Kind == "Pod" && asked.Verb == apimodel.VerbPatch {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, asked.Name, errors.New(`admission webhook "pods.example.com" denied the request`))
	}
	if !time.Now().Before(f.refused) || f.kind != asked.Kind {
		return nil
	}
	resource := schema.GroupResource{Resource: strings.ToLower(asked.Kind) + "s"}
	switch f.refusal {
	case "quota":
		return apierrors.NewForbidden(resource, asked.Name, errors.New("exceeded quota: all, requested: 1, used: 9, limited: 9"))
	case "webhook":
		return apierrors.NewInternalError(fmt.Errorf("failed calling webhook %q", "policy.example.com"))
	case "busy":
		return apierrors.NewTooManyRequests("the API server has too many requests in its queues", 1)
	default:
		return apierrors.NewServerTimeout(resource, "write", 1)
	}
}

// end ends all faults.
func (f *faults) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away, f.refused, f.slow, f.planned = time.Time{}, time.Time{}, 0, nil
	f.changed, f.denied = time.Time{}, time.Time{}
}

// change changes the faults.
func (f *faults) change(how func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
}

// runOf finds the run that a request comes from.
func (w *world) runOf(user string) *run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byUser[user]
}
