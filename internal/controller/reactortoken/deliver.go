package reactortoken

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/notice"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// The right to patch workloads or pods is the right to change their images, so each has a flag and a Role of its own:
// config/components/restart and config/components/prompt-delivery.

// podPatchRate is how many pods a second are given the annotation of prompt delivery, in the whole installation.
const podPatchRate = 50

// podListLimit is how many pods are listed at once.
const podListLimit = 250

const (
	// deliveryTimeout is how long one pass delivers: what is left is done in the next one, so that a thousand pods of one
	// ReactorToken do not keep a worker from all the others.
	deliveryTimeout = 5 * time.Second
	// deliveryRefusedWait is how long nothing is tried after the API server refused a delivery: nothing tells when a right or a
	// policy has changed.
	deliveryRefusedWait = 15 * time.Minute
)

// delivery hands a new token to those who would not, or not soon, see the changed Secret: it rolls workloads, and has the
// kubelet refresh the files of running pods.
//
// It is level-triggered: it is due while status names another token than the Secret, so that a crash loses nothing.
type delivery struct {
	client  client.Client
	pods    client.Reader // live: pods are listed only for a delivery, by its selector
	patches *rate.Limiter

	allowRestart, allowPrompt bool
}

func newDelivery(o Options) *delivery {
	return &delivery{
		client: o.Client, pods: o.APIReader, patches: rate.NewLimiter(podPatchRate, podPatchRate),
		allowRestart: o.AllowRestart, allowPrompt: o.AllowPromptDelivery,
	}
}

// delivering is what is known of a delivery that is not done yet.
type delivering struct {
	tokenID    string
	generation int64
	began      time.Time
	rolled     map[v1alpha1.WorkloadReference]bool // those that are done, and told
	blocked    map[v1alpha1.WorkloadReference]bool // those that the API server refused
	until      time.Time                           // when the blocked ones are tried again; zero: none is blocked
	prompted   bool                                // the pods need nothing more
	told       map[string]bool                     // what was told already, by reason
}

// deliver hands out the current token unless status says that this has been done. A token that was written in this pass is
// delivered in the next one, at once, so that its status does not wait for the delivery.
func (d *delivery) deliver(
	ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, status *v1alpha1.ReactorTokenStatus, current *targetsecret.Record, done *outcome,
) {
	now := done.clocks.now
	wanted := len(token.Spec.Restart) > 0 || token.Spec.PromptDelivery != nil
	if status.DeliveredTokenID == current.TokenID || !wanted {
		done.delivered = true
		return
	}
	if mem.delivering.tokenID != current.TokenID || mem.delivering.generation != token.Generation {
		mem.delivering = delivering{
			tokenID: current.TokenID, generation: token.Generation, began: now,
			rolled: map[v1alpha1.WorkloadReference]bool{}, blocked: map[v1alpha1.WorkloadReference]bool{}, told: map[string]bool{},
		}
	}
	state := &mem.delivering
	if done.issued {
		done.deliverAt = now
		return
	}
	failed := errors.Join(d.restart(ctx, token, state, status, current, done), d.promptOnce(ctx, token, state, current, done))
	switch {
	case errors.Is(failed, errMorePods):
		done.deliverAt = now // at once, after those who wait
	case failed != nil:
		done.retry = errors.Join(done.retry, fmt.Errorf("delivering the new token of ReactorToken %s/%s: %w", token.Namespace, token.Name, failed))
	case len(state.blocked) > 0:
		done.deliverAt = state.until
	default:
		done.delivered = true
	}
}

// tell tells of something once for each token.
func (s *delivering) tell(done *outcome, what notice.Notice) {
	if !s.told[what.Reason] {
		s.told[what.Reason] = true
		done.notices = append(done.notices, what)
	}
}

// isRefusal reports whether the API server understood a delivery and does not want it: there is no right, or a policy.
func isRefusal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

func deliveryRefused(secret string, err error) notice.Notice {
	return notice.Warning("DeliveryRefused", "Deliver", "the new token stands in Secret %q, and could not be delivered: %v", secret, err)
}

// restart rolls the workloads of spec.restart by an annotation on their pod templates. The first token rolls nothing: who
// waited for its Secret has just been started by it. What was refused is tried again every 15 minutes; it keeps nothing else from
// being rolled. The error is of what is to be tried again soon.
func (d *delivery) restart(
	ctx context.Context, token *v1alpha1.ReactorToken, state *delivering, status *v1alpha1.ReactorTokenStatus, current *targetsecret.Record, done *outcome,
) error {
	if len(token.Spec.Restart) == 0 || status.DeliveredTokenID == "" {
		return nil
	}
	if !d.allowRestart {
		state.tell(done, notice.Warning("RestartNotAllowed", "Restart",
			"spec.restart is set, but this installation does not allow it: start the operator with --allow-restart, and give it the Role that goes with it"))
		return nil
	}
	if now := done.clocks.now; !now.Before(state.until) {
		clear(state.blocked)
		state.until = now.Add(deliveryRefusedWait)
	}
	var failed error
	for _, reference := range token.Spec.Restart {
		if state.rolled[reference] || state.blocked[reference] {
			continue
		}
		err := d.annotate(ctx, workload(token.Namespace, reference), annotationPatch(current.TokenID, "spec", "template"))
		switch {
		case isRefusal(err):
			state.blocked[reference] = true
			state.tell(done, deliveryRefused(token.TargetSecretName(), err))
			continue
		case err != nil && !apierrors.IsNotFound(err): // one that is not there will start with the new token when it is created
			failed = errors.Join(failed, fmt.Errorf("restarting %s %q: %w", reference.Kind, reference.Name, err))
			continue
		case err == nil:
			done.notices = append(done.notices, notice.Normal("Restarted", "Restart", "rolled %s %q for the new token", reference.Kind, reference.Name))
		}
		state.rolled[reference] = true
	}
	return failed
}

// promptOnce prompts the pods until that is done. It is best effort: what is refused, or fails for longer than a mounted Secret needs to
// reach its pods anyway, is given up, so that it never stands between a token and the restarts for the next one.
func (d *delivery) promptOnce(ctx context.Context, token *v1alpha1.ReactorToken, state *delivering, current *targetsecret.Record, done *outcome) error {
	if state.prompted {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	err := d.prompt(limited, token, state, current, done)
	switch {
	case err == nil, errors.Is(err, errMorePods):
	case isRefusal(err):
		state.tell(done, deliveryRefused(token.TargetSecretName(), err))
		err = nil
	case done.clocks.now.Sub(state.began) >= promptEnough:
		err = nil
	}
	state.prompted = err == nil
	return err
}

func workload(namespace string, reference v1alpha1.WorkloadReference) client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: reference.Name}
	switch reference.Kind {
	case v1alpha1.KindStatefulSet:
		return &appsv1.StatefulSet{ObjectMeta: meta}
	case v1alpha1.KindDaemonSet:
		return &appsv1.DaemonSet{ObjectMeta: meta}
	case v1alpha1.KindDeployment:
		return &appsv1.Deployment{ObjectMeta: meta}
	default: // the API server admits no other
		return &appsv1.Deployment{ObjectMeta: meta}
	}
}

// prompt annotates the running pods that mount the Secret. A new annotation makes the kubelet sync the pod at once, and with
// it the mounted files: 0.2 s, where a changed Secret alone takes 66 to 89 s with default settings (measured). It is best
// effort: a pod that is missed has the token a minute later.
func (d *delivery) prompt(ctx context.Context, token *v1alpha1.ReactorToken, state *delivering, current *targetsecret.Record, done *outcome) error {
	if token.Spec.PromptDelivery == nil {
		return nil
	}
	if !d.allowPrompt {
		state.tell(done, notice.Warning("PromptDeliveryNotAllowed", "DeliverPromptly",
			"spec.promptDelivery is set, but this installation does not allow it: start the operator with --allow-prompt-delivery, and give it the Role that goes with it"))
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(token.Spec.PromptDelivery.PodSelector)
	if err != nil {
		state.tell(done, notice.Warning("PodSelectorInvalid", "DeliverPromptly", "spec.promptDelivery.podSelector is not a selector: %v", err))
		return nil
	}
	pods := &corev1.PodList{}
	for {
		err := d.pods.List(ctx, pods, client.InNamespace(token.Namespace), client.MatchingLabelsSelector{Selector: selector},
			client.Limit(podListLimit), client.Continue(pods.Continue))
		if err != nil {
			return fmt.Errorf("listing the pods of spec.promptDelivery: %w", err)
		}
		if err := d.promptPods(ctx, pods.Items, token.TargetSecretName(), current.TokenID); err != nil {
			return err
		}
		if pods.Continue == "" {
			return nil
		}
	}
}

// errMorePods says that the time of this pass is up, and pods are left.
var errMorePods = errors.New("more pods are to be annotated")

func (d *delivery) promptPods(ctx context.Context, pods []corev1.Pod, secret, tokenID string) error {
	for i := range pods {
		pod := &pods[i]
		if !wantsPrompt(pod, secret, tokenID) {
			continue
		}
		if d.patches.Wait(ctx) != nil { // it would take longer than the pass may
			return errMorePods // others were annotated before: the rate lets 50 through at once
		}
		name := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		if err := d.annotate(ctx, name, annotationPatch(tokenID)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("annotating pod %q: %w", pod.Name, err)
		}
	}
	return nil
}

// wantsPrompt reports whether the pod runs, mounts the Secret, and has not been told of this token yet.
func wantsPrompt(pod *corev1.Pod, secret, tokenID string) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp.IsZero() &&
		pod.Annotations[v1alpha1.TokenIDAnnotation] != tokenID && mounts(pod, secret)
}

func mounts(pod *corev1.Pod, secret string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool {
		if volume.Secret != nil {
			return volume.Secret.SecretName == secret
		}
		return volume.Projected != nil && slices.ContainsFunc(volume.Projected.Sources, func(source corev1.VolumeProjection) bool {
			return source.Secret != nil && source.Secret.Name == secret
		})
	})
}

func (d *delivery) annotate(ctx context.Context, object client.Object, patch []byte) error {
	return d.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(targetsecret.FieldOwner))
}

// annotationPatch sets the token's id as an annotation of the object, or of what lies at the path inside it. The id reveals
// nothing, and unlike a time in whole seconds it tells any two tokens apart.
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
