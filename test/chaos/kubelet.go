package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// hostKubelet stands in for scheduler, kubelet and container runtime where there is no node: it runs the program of each pod of a session
// as a process of this machine, with the files of the pod's Secrets and its environment, and tells in the pod's status what became of it.
type hostKubelet struct {
	kube   client.WithWatch
	folder string              // for files of pods; it goes with the control plane
	pods   map[string]*hostPod // by UID
	beat   time.Time           // when the node last said that it is there
}

// hostPod is a pod that runs, or has run.
type hostPod struct {
	process  *process.Process
	started  metav1.Time
	ended    metav1.Time
	message  string // the file of the termination message
	stopping bool
}

const (
	workerBinary = "bin/session-worker"
	hostNode     = "this-machine"
)

// keep looks at all pods, once a second, until the context ends.
func (k *hostKubelet) keep(ctx context.Context) {
	k.pods = map[string]*hostPod{}
	for stage.Pause(ctx, time.Second) == nil {
		if time.Since(k.beat) > heartbeat && k.heartbeat(ctx) == nil {
			k.beat = time.Now()
		}
		list := corev1.PodList{}
		if err := k.kube.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			continue // what runs goes on, as with a kubelet
		}
		for i := range list.Items {
			_ = k.sync(ctx, &list.Items[i]) // again at the next look
		}
	}
	for _, pod := range k.pods {
		pod.process.Kill()
	}
}

// heartbeat is how often a kubelet tells of its node.
const heartbeat = 10 * time.Second

// heartbeat says that the node is there, since pods of a lost node are removed.
func (k *hostKubelet) heartbeat(ctx context.Context) error {
	self := &corev1.Node{}
	err := k.kube.Get(ctx, client.ObjectKey{Name: hostNode}, self)
	if apierrors.IsNotFound(err) {
		self = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: hostNode}}
		err = k.kube.Create(ctx, self)
	}
	if err != nil {
		return err
	}
	now := metav1.Now()
	self.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Runs", LastHeartbeatTime: now, LastTransitionTime: self.CreationTimestamp,
	}}
	return k.kube.Status().Update(ctx, self)
}

// sync does the next thing that a pod needs.
func (k *hostKubelet) sync(ctx context.Context, pod *corev1.Pod) error {
	running, known := k.pods[string(pod.UID)]
	switch {
	case !known && (pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed):
		return client.IgnoreNotFound(k.kube.Delete(ctx, pod, client.GracePeriodSeconds(0)))
	case !known && pod.Spec.NodeName == "":
		return k.kube.SubResource("binding").Create(ctx, pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: hostNode}})
	case !known:
		return k.run(ctx, pod)
	case running.process.Failure() == nil: // it runs
		if pod.DeletionTimestamp != nil && !running.stopping {
			running.stopping = true
			go running.process.Stop()
		}
		return k.tell(ctx, pod, running)
	}
	if running.ended.IsZero() {
		running.ended = metav1.Now()
	}
	if err := k.tell(ctx, pod, running); err != nil || pod.DeletionTimestamp == nil {
		return err
	}
	return client.IgnoreNotFound(k.kube.Delete(ctx, pod, client.GracePeriodSeconds(0)))
}

// run starts the program of a pod.
func (k *hostKubelet) run(ctx context.Context, pod *corev1.Pod) error {
	folder := filepath.Join(k.folder, string(pod.UID))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	container := pod.Spec.Containers[0]
	mounts, err := k.mount(ctx, pod, folder)
	if err != nil {
		return err
	}
	env := []string{}
	for _, variable := range container.Env {
		value := variable.Value
		for mountPath, path := range mounts {
			value = strings.ReplaceAll(value, mountPath, path)
		}
		env = append(env, variable.Name+"="+value)
	}
	started := &hostPod{started: metav1.Now(), message: filepath.Join(folder, "message")}
	args := append([]string{"--message=" + started.message}, container.Args...)
	if started.process, err = process.Start(pod.Name, filepath.Join(folder, "log"), env, workerBinary, args...); err != nil {
		return err
	}
	k.pods[string(pod.UID)] = started
	return k.tell(ctx, pod, started)
}

// mount writes the Secrets of a pod into files, and returns which folder stands for which mount.
func (k *hostKubelet) mount(ctx context.Context, pod *corev1.Pod, folder string) (map[string]string, error) {
	mounts := map[string]string{}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		for i := range pod.Spec.Volumes {
			volume := &pod.Spec.Volumes[i]
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			secret := corev1.Secret{}
			if err := k.kube.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: volume.Secret.SecretName}, &secret); err != nil {
				return nil, err
			}
			path := filepath.Join(folder, volume.Name)
			errs := []error{os.MkdirAll(path, 0o700)}
			for name, content := range secret.Data {
				errs = append(errs, os.WriteFile(filepath.Join(path, name), content, 0o600))
			}
			if err := errors.Join(errs...); err != nil {
				return nil, err
			}
			mounts[mount.MountPath] = path
		}
	}
	return mounts, nil
}

// tell writes the pod's status, if it says something else.
func (k *hostKubelet) tell(ctx context.Context, pod *corev1.Pod, running *hostPod) error {
	phase := corev1.PodRunning
	status := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name, Image: workerImage, Ready: true, Started: new(true)}
	status.State.Running = &corev1.ContainerStateRunning{StartedAt: running.started}
	if !running.ended.IsZero() {
		message, err := os.ReadFile(running.message)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		code := running.process.ExitCode()
		phase = corev1.PodFailed
		if code == 0 {
			phase = corev1.PodSucceeded
		}
		status.Ready, status.Started = false, new(false)
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(code), Reason: "Ended", Message: string(message), StartedAt: running.started, FinishedAt: running.ended, //nolint:gosec // at most 255
			ContainerID: fmt.Sprintf("process://%d", running.process.PID()),
		}}
	}
	if pod.Status.Phase == phase {
		return nil
	}
	pod.Status.Phase, pod.Status.StartTime = phase, &running.started
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	ready := corev1.ConditionTrue
	if phase != corev1.PodRunning {
		ready = corev1.ConditionFalse
	}
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: running.started},
		{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()},
	}
	return k.kube.Status().Update(ctx, pod)
}
