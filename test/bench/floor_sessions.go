package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// sessionExample is what the operator wrote for one ReactorSession.
type sessionExample struct {
	status v1alpha1.ReactorSessionStatus
	pod    corev1.Pod
}

func sessionExampleOf(ctx context.Context, s *stage.Stage, name string) (*sessionExample, error) {
	session, found := &v1alpha1.ReactorSession{}, &sessionExample{}
	if err := s.Kube.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: name}, session); err != nil {
		return nil, err
	}
	found.status = session.Status
	pods := &corev1.PodList{}
	err := s.Kube.List(ctx, pods, client.InNamespace(stage.Namespace), client.MatchingLabels{attempts.SessionUIDLabel: string(session.UID)})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("session %s has %d pods", name, len(pods.Items))
	}
	found.pod = pods.Items[0]
	return found, nil
}

// sessionFloor makes the writes of a session and nothing else: its watches wake it, as they do the operator. As many workers as the
// operator has for sessions do those of sessions, and as many as it has for tokens do those of tokens.
type sessionFloor struct {
	*floor
	like *sessionExample

	sessions, tokens chan func(context.Context) error
	pending          atomic.Int64

	mu     sync.Mutex
	latest map[string]*v1alpha1.ReactorSession // as it was written last, by name
	begun  map[string]int                      // how far it is
	failed error
}

// The steps of a session.
const (
	stepCreated = iota + 1
	stepRunning
	stepSucceeded
)

// mostAtOnce is how many steps may wait for a worker.
const mostAtOnce = 1 << 20

func newSessionFloor(ctx context.Context, s *stage.Stage, writes *example, like *sessionExample, flags ...string) (*sessionFloor, error) {
	plain, err := newFloor(ctx, s, writes, flags...)
	if err != nil {
		return nil, err
	}
	f := &sessionFloor{
		floor: plain, like: like, latest: map[string]*v1alpha1.ReactorSession{}, begun: map[string]int{},
		sessions: make(chan func(context.Context) error, mostAtOnce), tokens: make(chan func(context.Context) error, mostAtOnce),
	}
	for object, react := range map[client.Object]func(any){&v1alpha1.ReactorSession{}: f.seeSession, &corev1.Pod{}: f.seePod} {
		informer, err := f.watches.GetInformer(ctx, object)
		if err != nil {
			return nil, err
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: react, UpdateFunc: func(_, object any) { react(object) }})
		if err != nil {
			return nil, err
		}
	}
	for range f.config.Concurrency {
		go f.work(ctx, f.sessions)
		go f.work(ctx, f.tokens)
	}
	return f, nil
}

func (f *sessionFloor) work(ctx context.Context, steps chan func(context.Context) error) {
	for {
		select {
		case step := <-steps:
			if err := step(ctx); err != nil && ctx.Err() == nil {
				f.mu.Lock()
				f.failed = errors.Join(f.failed, err)
				f.mu.Unlock()
			}
			f.pending.Add(-1)
		case <-ctx.Done():
			return
		}
	}
}

func (f *sessionFloor) do(steps chan func(context.Context) error, step func(context.Context) error) {
	f.pending.Add(1)
	steps <- step
}

func (f *sessionFloor) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// idle waits until no step is left.
func (f *sessionFloor) idle(ctx context.Context) error {
	for f.pending.Load() > 0 {
		if err := errors.Join(f.failure(), stage.Pause(ctx, 10*time.Millisecond)); err != nil {
			return err
		}
	}
	return f.failure()
}

// reaches reports whether a session comes to a step for the first time.
func (f *sessionFloor) reaches(name string, step int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun[name] >= step {
		return false
	}
	f.begun[name] = step
	return true
}

func (f *sessionFloor) seeSession(object any) {
	session, ok := object.(*v1alpha1.ReactorSession)
	if !ok || !f.reaches(session.Name, stepCreated) {
		return
	}
	f.do(f.sessions, func(ctx context.Context) error { return f.begin(ctx, session.DeepCopy()) })
}

func (f *sessionFloor) seePod(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	switch {
	case pod.Status.Phase == corev1.PodRunning && f.reaches(sessionOf(pod), stepRunning):
		f.do(f.sessions, func(ctx context.Context) error { return f.running(ctx, pod) })
	case pod.Status.Phase == corev1.PodSucceeded && f.reaches(sessionOf(pod), stepSucceeded):
		f.do(f.sessions, func(ctx context.Context) error { return f.succeeded(ctx, pod.DeepCopy()) })
	}
}

// attemptName is that of the pod and of the token.
func attemptName(session string) string { return session + "-abcde-1" }

// begin writes the attempt down, and has its token made.
func (f *sessionFloor) begin(ctx context.Context, session *v1alpha1.ReactorSession) error {
	if err := f.writeStatus(ctx, session, false); err != nil {
		return err
	}
	token := newToken(attemptName(session.Name))
	token.Labels, token.OwnerReferences = f.labels(session), owned(session)
	token.Spec.Scope.MaxSessionDuration = "5h5m"
	token.Spec.Lifetime = "5h30m"
	if err := f.kube.Create(ctx, token); err != nil {
		return err
	}
	f.do(f.tokens, func(ctx context.Context) error {
		if err := f.pass(ctx, token); err != nil {
			return err
		}
		f.do(f.sessions, func(ctx context.Context) error { return f.createPod(ctx, session) })
		return nil
	})
	return nil
}

func (f *sessionFloor) labels(session *v1alpha1.ReactorSession) map[string]string {
	return map[string]string{attempts.SessionUIDLabel: string(session.UID), attempts.AttemptLabel: "1"}
}

func owned(session *v1alpha1.ReactorSession) []metav1.OwnerReference {
	reference := metav1.NewControllerRef(session, v1alpha1.SchemeGroupVersion.WithKind("ReactorSession"))
	reference.BlockOwnerDeletion = nil
	return []metav1.OwnerReference{*reference}
}

// createPod makes sure that the attempt still stands, keeps the session by a finalizer, and creates the pod.
func (f *sessionFloor) createPod(ctx context.Context, session *v1alpha1.ReactorSession) error {
	if err := f.live.Get(ctx, client.ObjectKeyFromObject(session), &v1alpha1.ReactorSession{}); err != nil {
		return err
	}
	if err := f.setFinalizers(ctx, session, attempts.CleanupFinalizer); err != nil {
		return err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: session.Namespace, Name: attemptName(session.Name), Labels: f.labels(session), OwnerReferences: owned(session),
			Annotations: maps.Clone(f.like.pod.Annotations), Finalizers: []string{attempts.TrackingFinalizer},
		},
		Spec: *f.like.pod.Spec.DeepCopy(),
	}
	pod.Annotations[attempts.SessionAnnotation] = session.Name
	pod.Spec.NodeName = ""
	for i := range pod.Spec.Volumes {
		if secret := pod.Spec.Volumes[i].Secret; secret != nil {
			secret.SecretName = attemptName(session.Name)
		}
	}
	return f.kube.Create(ctx, pod)
}

// running writes down that the attempt runs.
func (f *sessionFloor) running(ctx context.Context, pod *corev1.Pod) error {
	return f.writeStatus(ctx, f.sessionNamed(sessionOf(pod)), false)
}

// succeeded sees to the Reactor session, writes the outcome down, and lets go of pod, token and session.
func (f *sessionFloor) succeeded(ctx context.Context, pod *corev1.Pod) error {
	session := f.sessionNamed(sessionOf(pod))
	secret := &corev1.Secret{}
	if err := f.live.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: attemptName(session.Name)}, secret); err != nil {
		return err
	}
	var told struct {
		SessionID string `json:"sessionId"`
	}
	if err := json.Unmarshal([]byte(pod.Status.ContainerStatuses[0].State.Terminated.Message), &told); err != nil {
		return err
	}
	if _, err := f.reactor.Session(ctx, reactor.Secret(secret.Data["jwt"]), told.SessionID); err != nil {
		return err
	}
	if err := f.writeStatus(ctx, session, true); err != nil {
		return err
	}
	if err := f.setFinalizers(ctx, pod); err != nil {
		return err
	}
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: attemptName(session.Name)}}
	if err := f.kube.Delete(ctx, token); err != nil {
		return err
	}
	return f.setFinalizers(ctx, session)
}

func (f *sessionFloor) sessionNamed(name string) *v1alpha1.ReactorSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest[name].DeepCopy()
}

// writeStatus writes a status as large as the operator's.
func (f *sessionFloor) writeStatus(ctx context.Context, session *v1alpha1.ReactorSession, complete bool) error {
	session.Status = *f.like.status.DeepCopy()
	if !complete {
		session.Status.Conditions = slices.DeleteFunc(session.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionComplete })
		meta.SetStatusCondition(&session.Status.Conditions,
			metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStarting})
		session.Status.FinishedTime = nil
	}
	if err := f.kube.Status().Update(ctx, session); err != nil {
		return err
	}
	f.remember(session)
	return nil
}

func (f *sessionFloor) remember(session *v1alpha1.ReactorSession) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest[session.Name] = session.DeepCopy()
}

func (f *sessionFloor) setFinalizers(ctx context.Context, object client.Object, finalizers ...string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": append([]string{}, finalizers...), "uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(),
	}})
	if err != nil {
		return err
	}
	if err := f.kube.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	if session, ok := object.(*v1alpha1.ReactorSession); ok {
		f.remember(session)
	}
	return nil
}
