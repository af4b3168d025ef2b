package sim

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// node runs pods the way a kubelet does, as far as a session sees: it starts their programs, tells them to stop, kills them after their
// grace period, and writes down how they ended.
type node struct {
	world *world
	api   client.Client

	mu      sync.Mutex
	running map[types.UID]*machine
	looked  uint64
	pods    []corev1.Pod
	lost    time.Time     // when the node ceased to answer; zero: it does. Its programs go on.
	behind  time.Duration // how far the node's clock is behind the true time
	stuck   bool          // no pod starts
}

func newNode(w *world) *node {
	return &node{world: w, api: w.api.Client("kubelet"), running: map[types.UID]*machine{}}
}

const (
	// tick is how often the node looks.
	tick = 2 * time.Second
	// evictionAfter is how long a node may be away before its pods are deleted.
	evictionAfter = 5 * time.Minute
	// defaultGrace is Kubernetes's.
	defaultGrace = 30 * time.Second
)

// be changes how the node behaves.
func (n *node) be(change func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *node) work(ctx context.Context) {
	for ctx.Err() == nil {
		n.sync(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(tick):
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.killAll()
}

// killAll kills all programs, as a node does that loses its power.
func (n *node) killAll() {
	for _, m := range n.running {
		m.kill()
		m.die()
	}
}

func (n *node) isLost() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.lost.IsZero()
}

func (n *node) sync(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := n.world.wrote.Load() + 1; now != n.looked {
		pods := &corev1.PodList{}
		if err := n.api.List(ctx, pods); err != nil {
			return
		}
		n.pods, n.looked = pods.Items, now
	}
	if !n.lost.IsZero() {
		n.evict(ctx)
		return
	}
	there := map[types.UID]bool{}
	for i := range n.pods {
		there[n.pods[i].UID] = true
		n.syncPod(ctx, n.pods[i].DeepCopy())
	}
	for uid, m := range n.running {
		if !there[uid] { // somebody took the object away
			m.kill()
			m.die()
			delete(n.running, uid)
		}
	}
}

// evict does what the control plane does while a node is away: it deletes its pods, which stay until the node is back.
func (n *node) evict(ctx context.Context) {
	if time.Since(n.lost) < evictionAfter {
		return
	}
	for i := range n.pods {
		if pod := &n.pods[i]; pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" && !isOver(pod) {
			_ = n.api.Delete(ctx, pod.DeepCopy()) // it may be gone
		}
	}
}

func isOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (n *node) syncPod(ctx context.Context, pod *corev1.Pod) {
	m, runs := n.running[pod.UID]
	deleted := pod.DeletionTimestamp != nil
	switch {
	case isOver(pod) || !runs && deleted:
		if deleted { // the kubelet's last word
			_ = n.api.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
		}
	case !runs && pod.Spec.NodeName == "" && !n.stuck && len(pod.Spec.SchedulingGates) == 0:
		n.start(ctx, pod)
	case !runs:
	case m.hasEnded():
		n.finish(ctx, pod, m)
	case deleted:
		m.kill()
		if n.world.clocks.trueTime().After(pod.DeletionTimestamp.Time) {
			m.die()
			n.finish(ctx, pod, m)
		}
	case pod.Spec.ActiveDeadlineSeconds != nil && n.now().Sub(m.started) >= time.Duration(*pod.Spec.ActiveDeadlineSeconds)*time.Second:
		if m.expired.IsZero() {
			m.expired = n.now()
		}
		m.setReason("DeadlineExceeded")
		m.kill()
		if n.now().Sub(m.expired) >= graceOf(pod) {
			m.die()
			n.finish(ctx, pod, m)
		}
	}
}

// now is the time by the node's clock.
func (n *node) now() time.Time { return n.world.clocks.trueTime().Add(-n.behind) }

func graceOf(pod *corev1.Pod) time.Duration {
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return defaultGrace
}

// start binds a pod and starts its program.
func (n *node) start(ctx context.Context, pod *corev1.Pod) {
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
	if err := n.api.SubResource("binding").Create(ctx, pod, binding); err != nil {
		return
	}
	if err := n.api.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		return
	}
	m := newMachine(n, pod)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(m.started)}}}}
	if err := n.api.Status().Update(ctx, pod); err != nil {
		return
	}
	n.running[pod.UID] = m
	go m.run()
}

func (n *node) secret(ctx context.Context, namespace, name, key string) string {
	secret := &corev1.Secret{}
	if err := n.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret); err != nil {
		return ""
	}
	return string(secret.Data[key])
}

// finish writes down how a pod ended: first that its container has, and a moment later that it has itself, as a real kubelet does.
func (n *node) finish(ctx context.Context, pod *corev1.Pod, m *machine) {
	m.kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	if pod.Status.ContainerStatuses[0].State.Terminated != nil {
		delete(n.running, pod.UID)
		pod.Status.Reason = m.reason
		pod.Status.Phase = corev1.PodSucceeded
		if m.exit != 0 || m.reason != "" {
			pod.Status.Phase = corev1.PodFailed
		}
		_ = n.api.Status().Update(ctx, pod) // the pod may be gone
		return
	}
	ended := m.over
	if ended.IsZero() { // it was killed this moment
		ended = n.now()
	}
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: m.exit, Message: m.said, StartedAt: metav1.NewTime(m.started), FinishedAt: metav1.NewTime(ended),
	}}
	_ = n.api.Status().Update(ctx, pod) // the pod may be gone
}

// sessionNameOf is the ReactorSession that a pod belongs to.
func sessionNameOf(pod *corev1.Pod) string { return pod.Annotations[attempts.SessionAnnotation] }

// modelOf is the model of which a session with this name is the only one.
func modelOf(name string) string { return "only/" + name }

// nameOf is the opposite of modelOf.
func nameOf(model string) (string, bool) { return strings.CutPrefix(model, "only/") }
