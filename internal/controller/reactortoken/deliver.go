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
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
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
	clock   clock.PassiveClock

	allowRestart, allowPrompt bool
}

func newDelivery(o Options) *delivery {
	return &delivery{
		client: o.Client, pods: o.APIReader, patches: rate.NewLimiter(podPatchRate, podPatchRate), clock: o.Clock,
		allowRestart: o.AllowRestart, allowPrompt: o.AllowPromptDelivery,
	}
}

// delivering is what is known of a delivery that is not done yet.
type delivering struct {
	tokenID    string
	generation int64
	rolled     map[v1alpha1.WorkloadReference]bool // those that are done, and told
	refused    time.Time                           // until when nothing is tried; zero: nothing was refused
}

// deliver hands out the current token unless status says that this has been done. A token that was written in this pass is
// delivered in the next one, at once, so that its status does not wait for the delivery.
func (d *delivery) deliver(
	ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, status *v1alpha1.ReactorTokenStatus, current *record, done *outcome,
) {
	now := done.clocks.now
	wanted := len(token.Spec.Restart) > 0 || token.Spec.PromptDelivery != nil
	if status.DeliveredTokenID == current.TokenID || !wanted {
		done.delivered = true
		return
	}
	if mem.delivering.tokenID != current.TokenID || mem.delivering.generation != token.Generation {
		mem.delivering = delivering{tokenID: current.TokenID, generation: token.Generation, rolled: map[v1alpha1.WorkloadReference]bool{}}
	}
	switch {
	case done.issued:
		done.deliverAt = now
		return
	case now.Before(mem.delivering.refused):
		done.deliverAt = mem.delivering.refused
		return
	}
	limited, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	err := errors.Join(
		d.restart(limited, token, mem.delivering.rolled, status, current, done),
		d.prompt(limited, token, current, done),
	)
	switch {
	case err == nil:
		done.delivered = true
	case limited.Err() != nil && ctx.Err() == nil, errors.Is(err, errMorePods):
		done.deliverAt = now // at once, after those who wait
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		if mem.delivering.refused.IsZero() { // told once
			done.notices = append(done.notices, warning("DeliveryRefused", "Deliver",
				"the new token stands in Secret %q, and could not be delivered: %v. It is tried again every %s",
				token.TargetSecretName(), err, v1alpha1.DurationOf(deliveryRefusedWait)))
		}
		mem.delivering.refused = d.clock.Now().Add(deliveryRefusedWait)
		done.deliverAt = mem.delivering.refused
	default:
		done.retry = errors.Join(done.retry, fmt.Errorf("delivering the new token of ReactorToken %s/%s: %w", token.Namespace, token.Name, err))
	}
}

// restart rolls the workloads of spec.restart by an annotation on their pod templates. The first token rolls nothing: who
// waited for its Secret has just been started by it.
func (d *delivery) restart(
	ctx context.Context, token *v1alpha1.ReactorToken, rolled map[v1alpha1.WorkloadReference]bool,
	status *v1alpha1.ReactorTokenStatus, current *record, done *outcome,
) error {
	if len(token.Spec.Restart) == 0 || status.DeliveredTokenID == "" {
		return nil
	}
	if !d.allowRestart {
		done.notices = append(done.notices, warning("RestartNotAllowed", "Restart",
			"spec.restart is set, but this installation does not allow it: start the operator with --allow-restart, and give it the Role that goes with it"))
		return nil
	}
	var failed error
	for _, reference := range token.Spec.Restart {
		if rolled[reference] {
			continue
		}
		err := d.annotate(ctx, workload(token.Namespace, reference), annotationPatch(current.TokenID, "spec", "template"))
		switch {
		case apierrors.IsNotFound(err): // it will start with the new token when it is created
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("restarting %s %q: %w", reference.Kind, reference.Name, err))
			continue
		default:
			done.notices = append(done.notices, normal("Restarted", "Restart", "rolled %s %q for the new token", reference.Kind, reference.Name))
		}
		rolled[reference] = true
	}
	return failed
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
func (d *delivery) prompt(ctx context.Context, token *v1alpha1.ReactorToken, current *record, done *outcome) error {
	if token.Spec.PromptDelivery == nil {
		return nil
	}
	if !d.allowPrompt {
		done.notices = append(done.notices, warning("PromptDeliveryNotAllowed", "DeliverPromptly",
			"spec.promptDelivery is set, but this installation does not allow it: start the operator with --allow-prompt-delivery, and give it the Role that goes with it"))
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(token.Spec.PromptDelivery.PodSelector)
	if err != nil {
		done.notices = append(done.notices, warning("PodSelectorInvalid", "DeliverPromptly", "spec.promptDelivery.podSelector is not a selector: %v", err))
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
			return errMorePods
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
	return d.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldOwner))
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
