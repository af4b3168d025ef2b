package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
)

const (
	// podPatchRate is how many pods per second are annotated, in the whole installation.
	podPatchRate = 50
	// podListLimit is how many pods one page of a list has.
	podListLimit = 250
	// refreshTimeout is how long one reconcile annotates pods. The rest follows in the next one, so that a thousand pods of one ReactorToken do
	// not keep a worker from all others.
	refreshTimeout = 5 * time.Second
)

// KubeletRefresh is how long a mounted Secret may take to reach its pod without a refresh: 66 to 89 s were measured with the default settings of the
// kubelet.
const KubeletRefresh = 90 * time.Second

// errMorePods means that the time of this reconcile is used up, and pods are left.
var errMorePods = errors.New("more pods must be annotated")

// refresh annotates the running pods that mount the Secret, until that is done. A new annotation makes the kubelet sync the pod immediately, and
// with it the mounted files: 0.2 s, where a changed Secret alone takes 66 to 89 s with default settings (measured).
//
// It is best effort: a pod that is missed has the token a minute later. What is refused, or fails for longer than a mounted Secret needs to reach
// its pods anyway, is not tried again, so that it never delays the restarts for the next token.
func (s *step) refresh(ctx context.Context) error {
	if s.progress.refreshed {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	err := s.refreshPods(limited)
	switch {
	case err == nil, errors.Is(err, errMorePods):
	case isRefused(err):
		s.reportRefused(err)
		err = nil
	case s.in.Now.Sub(s.progress.started) >= KubeletRefresh:
		err = nil
	}
	s.progress.refreshed = err == nil
	return err
}

func (s *step) refreshPods(ctx context.Context) error {
	if s.in.Refresh == nil {
		return nil
	}
	if !s.options.AllowRefresh {
		s.report(notice.Warning("PromptDeliveryNotAllowed", "DeliverPromptly",
			"spec.promptDelivery is set, but this installation does not allow it: start the operator with --allow-prompt-delivery, and give it the Role that goes with it"))
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s.in.Refresh.PodSelector)
	if err != nil {
		s.report(notice.Warning("PodSelectorInvalid", "DeliverPromptly", "spec.promptDelivery.podSelector is not a valid selector: %v", err))
		return nil
	}
	pods := &corev1.PodList{}
	for {
		err := s.options.Pods.List(ctx, pods, client.InNamespace(s.in.Namespace), client.MatchingLabelsSelector{Selector: selector},
			client.Limit(podListLimit), client.Continue(pods.Continue))
		if err != nil {
			return fmt.Errorf("listing the pods of spec.promptDelivery: %w", err)
		}
		if err := s.annotatePods(ctx, pods.Items); err != nil {
			return err
		}
		if pods.Continue == "" {
			return nil
		}
	}
}

func (s *step) annotatePods(ctx context.Context, pods []corev1.Pod) error {
	for i := range pods {
		pod := &pods[i]
		if !needsRefresh(pod, s.in.SecretName, s.in.TokenID) {
			continue
		}
		if s.patches.Wait(ctx) != nil { // it would take longer than the time of this reconcile
			return errMorePods // others were annotated before: the rate allows a burst of 50
		}
		name := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		switch err := s.annotate(ctx, name, annotationPatch(s.in.TokenID)); {
		case client.IgnoreNotFound(err) == nil:
			s.annotated++
		case ctx.Err() != nil && s.annotated > 0: // the time of this reconcile ended during the patch
			return errMorePods
		default:
			return fmt.Errorf("annotating pod %q: %w", pod.Name, err)
		}
	}
	return nil
}

// needsRefresh reports whether the pod runs, mounts the Secret, and was not annotated for this token yet.
func needsRefresh(pod *corev1.Pod, secret, tokenID string) bool {
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
