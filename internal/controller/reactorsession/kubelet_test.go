package reactorsession

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// kubelet runs pods the way a node does, as far as a session sees: it starts their programs, tells them to stop, kills them after their
// grace period, and writes down how they ended.
type kubelet struct {
	api     client.Client
	writes  func() uint64 // to the API, by anybody
	reactor http.RoundTripper
	program func(*machine) // what each session's container does; see runNow
	power   chan struct{}  // closed when the world ends

	mu      sync.Mutex
	running map[types.UID]*machine
	pods    corev1.PodList // when seen was written
	seen    uint64
	lost    bool          // the node does not answer any more: nothing is written, and the programs go on
	behind  time.Duration // how far the node's clock is behind the operator's
	stuck   bool          // no pod starts
}

// machine is what a program sees of the container that it runs in.
type machine struct {
	context.Context // ends with SIGTERM

	pod     corev1.Pod
	env     map[string]string
	token   func() string // reads REACTOR_JWT_FILE
	kubelet *kubelet

	kill    context.CancelFunc
	started time.Time
	expired time.Time // when the node saw that the deadline of the pod had passed

	mu     sync.Mutex // of what follows: a program that is killed may be writing it
	exit   int32
	said   string
	ended  chan struct{}
	killed string // OOMKilled, when it was
	reason string // DeadlineExceeded, when it was
}

// runNow has the containers that start from now on do something else.
func (k *kubelet) runNow(program func(*machine)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.program = program
}

// be changes how the node behaves.
func (k *kubelet) be(change func(*kubelet)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k)
}

// tick is how often the node looks.
const tick = 2 * time.Second

func (k *kubelet) work(ctx context.Context) {
	for ctx.Err() == nil {
		k.sync(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(tick):
		}
	}
}

func (k *kubelet) sync(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost {
		return
	}
	if written := k.writes() + 1; k.seen != written {
		if err := k.api.List(ctx, &k.pods); err != nil {
			return
		}
		k.seen = written
	}
	for i := range k.pods.Items {
		k.syncPod(ctx, k.pods.Items[i].DeepCopy())
	}
}

func (k *kubelet) syncPod(ctx context.Context, pod *corev1.Pod) {
	m, runs := k.running[pod.UID]
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || !runs && pod.DeletionTimestamp != nil:
		if pod.DeletionTimestamp != nil { // the last thing that a kubelet writes
			_ = k.api.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID}) // the pod may be gone
		}
	case !runs && pod.Spec.NodeName == "" && !k.stuck && len(pod.Spec.SchedulingGates) == 0:
		k.start(ctx, pod)
	case runs && isDone(m):
		k.finish(ctx, pod, m)
	case runs && pod.DeletionTimestamp != nil:
		m.kill()
		if time.Now().After(pod.DeletionTimestamp.Time) {
			k.finish(ctx, pod, m)
		}
	case runs && pod.Spec.ActiveDeadlineSeconds != nil && time.Since(m.started) >= time.Duration(*pod.Spec.ActiveDeadlineSeconds)*time.Second:
		if m.reason == "" {
			m.reason, m.expired = "DeadlineExceeded", time.Now()
		}
		m.kill()
		if time.Since(m.expired) >= graceOfPod(pod) {
			k.finish(ctx, pod, m)
		}
	}
}

func graceOfPod(pod *corev1.Pod) time.Duration {
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return 30 * time.Second // the default of Kubernetes
}

func isDone(m *machine) bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// bind does what the scheduler does, and reads the pod again.
func (k *kubelet) bind(ctx context.Context, pod *corev1.Pod) error {
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
	if err := k.api.SubResource("binding").Create(ctx, pod, binding); err != nil {
		return err
	}
	return k.api.Get(ctx, client.ObjectKeyFromObject(pod), pod)
}

// start binds a pod and starts its program.
func (k *kubelet) start(ctx context.Context, pod *corev1.Pod) {
	if err := k.bind(ctx, pod); err != nil {
		return
	}
	m := &machine{pod: *pod.DeepCopy(), env: map[string]string{}, kubelet: k, started: time.Now(), ended: make(chan struct{})}
	m.Context, m.kill = context.WithCancel(context.Background())
	for _, variable := range pod.Spec.Containers[0].Env {
		m.env[variable.Name] = variable.Value
		if from := variable.ValueFrom; from != nil {
			m.env[variable.Name] = k.secret(ctx, pod.Namespace, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		}
	}
	m.token = func() string {
		for _, volume := range pod.Spec.Volumes {
			if volume.Name == attempts.TokenVolume {
				return k.secret(ctx, pod.Namespace, volume.Secret.SecretName, "jwt")
			}
		}
		return ""
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(m.started.Add(-k.behind))}}}}
	if err := k.api.Status().Update(ctx, pod); err != nil {
		return
	}
	k.running[pod.UID] = m
	program := k.program
	go func() {
		defer close(m.ended)
		program(m)
	}()
}

func (k *kubelet) secret(ctx context.Context, namespace, name, key string) string {
	secret := &corev1.Secret{}
	if err := k.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret); err != nil {
		return ""
	}
	return string(secret.Data[key])
}

// finish writes down how a pod ended: first that its container has, and a moment later that it has itself, as a real kubelet does.
func (k *kubelet) finish(ctx context.Context, pod *corev1.Pod, m *machine) {
	m.kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !isDone(m) {
		m.exit = 137
	}
	if pod.Status.ContainerStatuses[0].State.Terminated != nil {
		delete(k.running, pod.UID)
		pod.Status.Reason = m.reason
		pod.Status.Phase = corev1.PodSucceeded
		if m.exit != 0 || m.reason != "" {
			pod.Status.Phase = corev1.PodFailed
		}
		_ = k.api.Status().Update(ctx, pod) // the pod may be gone
		return
	}
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: m.exit, Reason: m.killed, Message: m.said, StartedAt: metav1.NewTime(m.started.Add(-k.behind)), FinishedAt: metav1.NewTime(time.Now().Add(-k.behind)),
	}}
	_ = k.api.Status().Update(ctx, pod) // the pod may be gone
}

// call calls Reactor as a program does, and returns the status and the body.
func (m *machine) call(method, path, credential, body string) (int, map[string]any) {
	request, err := http.NewRequestWithContext(context.Background(), method, m.env["REACTOR_API_URL"]+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if path == "/tokens" {
		request.Header.Set("Reactor-API-Key", credential)
	} else {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := (&http.Client{Transport: m.kubelet.reactor}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	var answer map[string]any
	_ = json.Unmarshal(text, &answer)
	return response.StatusCode, answer
}

// begin starts a Reactor session and reports it, as every program has to. It returns the token and the session's id; no id when Reactor
// refused, which it has then reported too.
func (m *machine) begin() (token, id string) {
	token = m.token()
	if key := m.env["REACTOR_API_KEY"]; key != "" {
		status, answer := m.call("POST", "/tokens", key, "")
		if status != http.StatusOK {
			m.fail("UNAUTHORIZED")
			return "", ""
		}
		token, _ = answer["jwt"].(string)
	}
	status, answer := m.call("POST", "/sessions", token, fmt.Sprintf(`{"model":{"name":%q}}`, m.env["REACTOR_MODEL"]))
	switch status {
	case http.StatusCreated:
		id, _ = answer["session_id"].(string)
		m.tell(fmt.Sprintf(`{"sessionId":%q}`, id))
	case http.StatusTooManyRequests:
		m.failWith("RATE_LIMITED", status, answer)
	case http.StatusPaymentRequired:
		m.failWith("BAD_REQUEST", status, answer)
	case http.StatusUnauthorized, http.StatusForbidden:
		m.fail("UNAUTHORIZED")
	default:
		m.fail("SERVER_ERROR")
	}
	return token, id
}

// tell writes a line into the termination message.
func (m *machine) tell(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said += line + "\n"
}

func (m *machine) fail(code string) {
	m.tell(fmt.Sprintf(`{"error":{"code":%q}}`, code))
	m.leave(1)
}

// failWith reports an error as Reactor's Python SDK gives it: its message quotes the answer.
func (m *machine) failWith(code string, status int, answer map[string]any) {
	body, _ := json.Marshal(answer)
	line, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "status": status, "message": fmt.Sprintf("create session failed with %d: %s", status, body)}})
	m.tell(string(line))
	m.leave(1)
}

// leave sets the exit code.
func (m *machine) leave(exit int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exit = exit
}

// runs is a program that holds a session for some time, or until it is told to stop, and ends it.
func runs(d time.Duration) func(*machine) {
	return func(m *machine) {
		token, id := m.begin()
		if id == "" {
			return
		}
		select {
		case <-m.Done():
		case <-time.After(d):
		}
		m.call("DELETE", "/sessions/"+id, token, "")
	}
}

// leaves is a program that ends without ending its session.
func leaves(after time.Duration, exit int32) func(*machine) {
	return func(m *machine) {
		if _, id := m.begin(); id == "" {
			return
		}
		select {
		case <-m.Done():
		case <-time.After(after):
		}
		m.leave(exit)
	}
}
