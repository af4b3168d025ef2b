// Package rollout brings a new token to the programs that would not read the changed Secret, or not soon: it restarts workloads, and has the
// kubelet refresh the files that running pods mount.
//
// Permission to patch workloads or pods is permission to change their images, so each of the two has a flag and a Role of its own:
// config/components/restart and config/components/prompt-delivery.
package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// refusedWait is how long nothing is tried after the API server refused a patch: no watch reports that a permission or a policy changed.
const refusedWait = 15 * time.Minute

// Options are the dependencies and settings of a Rollout.
type Options struct {
	Client client.Client // patches workloads and pods
	Pods   client.Reader // live: pods are listed only for a rollout, by its selector

	AllowRestart bool // spec.restart is allowed
	AllowRefresh bool // spec.promptDelivery is allowed
}

// Rollout brings new tokens to programs. It is safe for concurrent use.
type Rollout struct {
	options Options
	patches *rate.Limiter // of pods, in the whole installation
}

// New returns a Rollout.
func New(o Options) *Rollout {
	return &Rollout{options: o, patches: rate.NewLimiter(podPatchRate, podPatchRate)}
}

// Input is a new token and the programs that need it.
type Input struct {
	Namespace  string // of all objects
	SecretName string // the Secret that holds the token
	TokenID    string // of the token
	Generation int64  // of the ReactorToken: a changed spec starts the rollout again
	Restart    []v1alpha1.WorkloadReference
	Refresh    *v1alpha1.PromptDelivery
	IsFirst    bool     // no token was rolled out before
	Progress   Progress // after the previous reconcile
	Now        time.Time
}

// Progress is how far the rollout of one token is. It is kept in memory: after a restart of the operator the rollout starts again, which changes
// nothing, because the annotations have the same values. The zero value is a rollout that was not started.
type Progress struct {
	tokenID    string
	generation int64
	started    time.Time
	restarted  map[v1alpha1.WorkloadReference]bool
	refused    map[v1alpha1.WorkloadReference]bool // by the API server
	retryAt    time.Time                           // when those are tried again
	refreshed  bool                                // the pods need nothing more
	reported   map[string]bool                     // by the reason of the event: each is emitted once for each token
}

// Result is what a rollout did.
type Result struct {
	Done     bool // the token has reached all programs that it can reach
	Progress Progress
	Notices  []notice.Notice
	Requeue  []requeue.Entry
	Err      error // of what is tried again with backoff
}

// Continue rolls the token out as far as it can in one reconcile. It is level-triggered: the caller calls it while status names another token
// than the Secret, so that a crash loses nothing.
func (r *Rollout) Continue(ctx context.Context, in Input) Result {
	s := step{Rollout: r, in: in, progress: in.Progress.of(in)}
	restartErr := s.restart(ctx)
	refreshErr := s.refresh(ctx)
	result := Result{Progress: s.progress, Notices: s.notices}
	switch err := errors.Join(restartErr, refreshErr); {
	case errors.Is(err, errMorePods):
		result.Requeue = []requeue.Entry{{After: 0, Reason: "more pods mount the Secret of the new token"}}
	case err != nil:
		result.Err = fmt.Errorf("rolling out the new token of Secret %s/%s: %w", in.Namespace, in.SecretName, err)
	case len(s.progress.refused) > 0:
		result.Requeue = []requeue.Entry{{After: s.progress.retryAt.Sub(in.Now), Reason: "the API server refused a restart"}}
	default:
		result.Done = true
	}
	return result
}

// step is one call of Continue.
type step struct {
	*Rollout

	in        Input
	progress  Progress
	notices   []notice.Notice
	annotated int // pods, by this call
}

// of returns the progress of this token: a copy, so that a Result shares nothing with the Input.
func (p Progress) of(in Input) Progress {
	if p.tokenID != in.TokenID || p.generation != in.Generation {
		return Progress{
			tokenID: in.TokenID, generation: in.Generation, started: in.Now,
			restarted: map[v1alpha1.WorkloadReference]bool{}, refused: map[v1alpha1.WorkloadReference]bool{}, reported: map[string]bool{},
		}
	}
	p.restarted, p.refused, p.reported = maps.Clone(p.restarted), maps.Clone(p.refused), maps.Clone(p.reported)
	return p
}

// report adds an event, once for each token.
func (s *step) report(event notice.Notice) {
	if !s.progress.reported[event.Reason] {
		s.progress.reported[event.Reason] = true
		s.notices = append(s.notices, event)
	}
}

// isRefused reports whether the API server understood a patch and refuses it: a permission is missing, or a policy forbids it.
func isRefused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

func (s *step) reportRefused(err error) {
	s.report(notice.Warning("DeliveryRefused", "Deliver", "the new token is in Secret %q, but the API server refused a patch that delivers it: %v", s.in.SecretName, err))
}

func (r *Rollout) annotate(ctx context.Context, object client.Object, patch []byte) error {
	return r.options.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(targetsecret.FieldOwner))
}

// annotationPatch sets the ID of the token as an annotation of the object, or of the part of it at the path. The ID reveals nothing, and unlike a
// time in whole seconds it differs for any two tokens.
func annotationPatch(tokenID string, path ...string) []byte {
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.TokenIDAnnotation: tokenID}}}
	for _, field := range slices.Backward(path) {
		patch = map[string]any{field: patch}
	}
	text, err := json.Marshal(patch)
	if err != nil {
		panic("strings always marshal: " + err.Error())
	}
	return text
}
