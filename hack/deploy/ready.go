package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// interval is the time between two reads of what a step waits for.
const interval = 250 * time.Millisecond

// waitForDeployments waits until the Deployments of a release run with their new pods. It does not wait for a pod that cannot start.
func (c *cluster) waitForDeployments(ctx context.Context, i installation, timeout time.Duration) error {
	missing := "no Deployment of the release was found"
	ofRelease := client.MatchingLabels{"app.kubernetes.io/instance": i.release}
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(ctx context.Context) (bool, error) {
		deployments, pods := &appsv1.DeploymentList{}, &corev1.PodList{}
		for _, list := range []client.ObjectList{deployments, pods} {
			if err := c.List(ctx, list, client.InNamespace(i.namespace), ofRelease); err != nil {
				missing = err.Error()
				return false, nil //nolint:nilerr // such as a connection that was reset: the next read may succeed
			}
		}
		for k := range pods.Items {
			if problem := podProblem(&pods.Items[k]); problem != "" {
				return false, errors.New(problem)
			}
		}
		for k := range deployments.Items {
			if !isRolledOut(&deployments.Items[k]) {
				missing = fmt.Sprintf("Deployment %q is not ready", deployments.Items[k].Name)
				return false, nil
			}
		}
		return len(deployments.Items) > 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = fmt.Errorf("%s after %s", missing, timeout)
	}
	if err != nil {
		return fmt.Errorf("wait for the operator in namespace %q: %w. Run `kubectl --namespace %s describe pods` to see why, "+
			"then run `%s` again, or `%s` to remove it", i.namespace, err, i.namespace, i.up, i.down)
	}
	return nil
}

// isRolledOut reports whether all pods of a Deployment are new and available.
func isRolledOut(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	status := d.Status
	return status.ObservedGeneration >= d.Generation && status.UpdatedReplicas == want && status.Replicas == want && status.AvailableReplicas == want
}

// podProblem describes why a pod cannot start by itself. It is empty if the pod may still start.
func podProblem(pod *corev1.Pod) string {
	hopeless := []string{"ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CrashLoopBackOff"}
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil && pod.DeletionTimestamp == nil && slices.Contains(hopeless, waiting.Reason) {
			return fmt.Sprintf("container %q of pod %q does not start: %s: %s", status.Name, pod.Name, waiting.Reason, waiting.Message)
		}
	}
	return ""
}
