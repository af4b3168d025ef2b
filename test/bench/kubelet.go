package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// sessionLife is how long a program runs.
const sessionLife = 2 * time.Second

// sessionOf is the name of the ReactorSession that a pod belongs to.
func sessionOf(pod *corev1.Pod) string { return pod.Annotations[attempts.SessionAnnotation] }

// kubelet plays scheduler, kubelet and program for the pods of sessions, all of them at once: it binds a pod, has its container run, starts
// a Reactor session with the token that the pod mounts, ends it after a while, and has the container succeed with a termination message.
type kubelet struct {
	stage *stage.Stage
	nodes []string

	mu     sync.Mutex
	played int
	failed error
}

// startKubelet plays until the context ends.
func startKubelet(ctx context.Context, s *stage.Stage) (*kubelet, error) {
	nodes, err := startNodes(ctx, s)
	if err != nil {
		return nil, err
	}
	k := &kubelet{stage: s, nodes: nodes}
	scheme, err := controlplane.Scheme()
	if err != nil {
		return nil, err
	}
	watches, err := cache.New(s.Plane.Config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return nil, err
	}
	informer, err := watches.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && sessionOf(pod) != "" {
			go k.play(ctx, pod.DeepCopy())
		}
	}})
	if err != nil {
		return nil, err
	}
	go func() { _ = watches.Start(ctx) }() // it ends with the context
	if !watches.WaitForCacheSync(ctx) {
		return nil, context.Cause(ctx)
	}
	return k, nil
}

// failure is the first one of a pod.
func (k *kubelet) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

func (k *kubelet) play(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	k.played++
	node := nodeOf(k.nodes, k.played)
	k.mu.Unlock()
	if err := k.run(ctx, pod, node); err != nil && ctx.Err() == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.failed = errors.Join(k.failed, fmt.Errorf("pod %s: %w", pod.Name, err))
	}
}

func (k *kubelet) run(ctx context.Context, pod *corev1.Pod, node string) error {
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := k.stage.Kube.SubResource("binding").Create(ctx, pod, binding); err != nil {
		return err
	}
	began := metav1.Now()
	err := setPodStatus(ctx, k.stage, pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}})
	if err != nil {
		return err
	}
	jwt, err := mountedToken(ctx, k.stage, pod)
	if err != nil {
		return err
	}
	id, err := startReactorSession(ctx, k.stage, jwt)
	if err != nil {
		return err
	}
	if err := stage.Pause(ctx, sessionLife); err != nil {
		return err
	}
	if err := askReactor(ctx, k.stage, http.MethodDelete, "/sessions/"+id, jwt, "", nil); err != nil {
		return err
	}
	return setPodStatus(ctx, k.stage, pod, corev1.PodSucceeded, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Message: fmt.Sprintf(`{"sessionId":%q}`, id), StartedAt: began, FinishedAt: metav1.Now(), Reason: "Completed",
	}})
}

// setPodStatus writes what a kubelet writes of a pod with one container.
func setPodStatus(ctx context.Context, s *stage.Stage, pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": phase,
		"containerStatuses": []corev1.ContainerStatus{{
			Name: pod.Spec.Containers[0].Name, State: state, Ready: state.Running != nil, Image: pod.Spec.Containers[0].Image, ImageID: "simulated",
		}},
	}})
	if err != nil {
		return err
	}
	at := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return s.Kube.Status().Patch(ctx, at, client.RawPatch(types.MergePatchType, patch))
}

// mountedToken is the token that a pod finds in its file.
func mountedToken(ctx context.Context, s *stage.Stage, pod *corev1.Pod) (string, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		secret := &corev1.Secret{}
		err := s.Kube.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: volume.Secret.SecretName}, secret)
		return string(secret.Data["jwt"]), err
	}
	return "", errors.New("it mounts no token")
}

// startReactorSession does what a program does with its token.
func startReactorSession(ctx context.Context, s *stage.Stage, jwt string) (string, error) {
	var started struct {
		ID string `json:"session_id"`
	}
	err := askReactor(ctx, s, http.MethodPost, "/sessions", jwt, `{"model":{"name":"`+model+`"}}`, &started)
	return started.ID, err
}

// reactorClient has the connections of all programs.
var reactorClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func askReactor(ctx context.Context, s *stage.Stage, method, path, jwt, body string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, s.Reactor+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+jwt)
	response, err := reactorClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
