package sim

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// The names that Kueue uses for plain pods.
const (
	queueLabel = "kueue.x-k8s.io/queue-name"
	queueGate  = "kueue.x-k8s.io/admission"
	queueOwns  = "kueue.x-k8s.io/managed" // a finalizer
	// uninvited is an annotation on a pod that the queue gated although its template names no queue.
	uninvited = "example.com/uninvited"
)

// queue is one such as Kueue: a webhook gates pods when they are created, and a controller removes the gate when it admits them.
type queue struct {
	world *world
	api   client.Client

	mu     sync.Mutex
	full   time.Time // until then it admits no pod
	greedy time.Time // until then its webhook gates all pods
}

func newQueue(w *world) *queue { return &queue{world: w, api: w.api.Client("queue")} }

// change changes the queue.
func (q *queue) change(how func(*queue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	how(q)
}

// behindWebhook is the access of the operator, with the queue's webhook in between.
func (q *queue) behindWebhook(access client.WithWatch) client.WithWatch {
	return interceptor.NewClient(access, interceptor.Funcs{
		Create: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if pod, ok := object.(*corev1.Pod); ok {
				q.gate(pod)
			}
			return base.Create(ctx, object, options...)
		},
	})
}

func (q *queue) gate(pod *corev1.Pod) {
	q.mu.Lock()
	greedy := time.Now().Before(q.greedy)
	q.mu.Unlock()
	switch {
	case pod.Labels[queueLabel] != "":
	case greedy:
		pod.Annotations[uninvited] = "true"
	default:
		return
	}
	pod.Finalizers = append(pod.Finalizers, queueOwns)
	pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: queueGate})
}

// work admits pods, and lets those go that have ended.
func (q *queue) work(ctx context.Context) {
	for ctx.Err() == nil {
		pods := &corev1.PodList{}
		if q.api.List(ctx, pods) == nil {
			for i := range pods.Items {
				q.see(ctx, &pods.Items[i])
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(7 * time.Second):
		}
	}
}

func (q *queue) see(ctx context.Context, pod *corev1.Pod) {
	before := pod.DeepCopy()
	q.mu.Lock()
	full := time.Now().Before(q.full)
	q.mu.Unlock()
	switch {
	case isOver(pod) || pod.DeletionTimestamp != nil:
		pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(name string) bool { return name == queueOwns })
	case !full:
		pod.Spec.SchedulingGates = slices.DeleteFunc(pod.Spec.SchedulingGates, isQueueGate)
	}
	if len(pod.Finalizers) != len(before.Finalizers) || len(pod.Spec.SchedulingGates) != len(before.Spec.SchedulingGates) {
		_ = q.api.Patch(ctx, pod, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})) // another time, when it has changed
	}
}

func isQueueGate(gate corev1.PodSchedulingGate) bool { return gate.Name == queueGate }

// queueOperations are what happens to the queue. It is no disturbance: what waits in it waits.
var queueOperations = []operation{
	{"the queue is full", 3, lasting(5*time.Minute, 2*time.Hour), func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.queue.change(func(q *queue) { q.full = until })
	}},
	{"the queue gates all pods", 2, lasting(time.Minute, 40*time.Minute), func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.queue.change(func(q *queue) { q.greedy = until })
	}},
}
