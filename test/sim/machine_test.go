package sim

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
)

// machine is the container that a session's program runs in.
type machine struct {
	context.Context // ends with SIGTERM

	pod     corev1.Pod
	env     map[string]string
	node    *node
	kill    context.CancelFunc
	started time.Time     // by the node's clock
	expired time.Time     // when the node saw that the deadline of the pod had passed
	behind  time.Duration // the node's clock
	program *program      // the judge's
	used    string        // the token that its session was started with

	mu     sync.Mutex // of what follows: a program that is killed may be writing it
	exit   int32
	over   time.Time // when it ended, by the node's clock
	said   string
	reason string // DeadlineExceeded, when it was
	killed bool
	ended  chan struct{}
	dead   chan struct{} // closed by SIGKILL
}

func newMachine(n *node, pod *corev1.Pod) *machine {
	m := &machine{pod: *pod.DeepCopy(), env: map[string]string{}, node: n, started: n.now(), behind: n.behind, ended: make(chan struct{}), dead: make(chan struct{})}
	m.Context, m.kill = context.WithCancel(context.Background())
	for _, variable := range pod.Spec.Containers[0].Env {
		m.env[variable.Name] = variable.Value
		if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
			m.env[variable.Name] = n.secret(m, pod.Namespace, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		}
	}
	return m
}

// token reads the file that REACTOR_JWT_FILE names.
func (m *machine) token() string {
	for _, volume := range m.pod.Spec.Volumes {
		if volume.Secret != nil {
			return m.node.secret(context.Background(), m.pod.Namespace, volume.Secret.SecretName, "jwt")
		}
	}
	return ""
}

func (m *machine) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// die is SIGKILL.
func (m *machine) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.killed {
		m.killed = true
		close(m.dead)
		if !m.hasEnded() {
			m.exit = 137
		}
	}
}

func (m *machine) setReason(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reason = reason
}

// call calls Reactor as a program does, and returns the status and the body.
func (m *machine) call(method, path, credential, body string) (int, map[string]any) {
	request, err := http.NewRequestWithContext(context.Background(), method, reactorURL+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if path == "/tokens" {
		request.Header.Set("Reactor-API-Key", credential)
	} else {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := (&http.Client{Transport: m.node.world.transport, Timeout: 20 * time.Second}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
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
	m.used = token
	status, answer := m.call("POST", "/sessions", token, fmt.Sprintf(`{"model":{"name":%q}}`, m.env["REACTOR_MODEL"]))
	switch status {
	case http.StatusCreated:
		id, _ = answer["session_id"].(string)
		if id != "" {
			m.node.world.judge.sessionStarts(m, id)
			m.tell(fmt.Sprintf(`{"sessionId":%q}`, id))
		}
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
	m.node.world.judge.refused(m, status)
	m.tell(string(line))
	m.leave(1)
}

// leave sets the exit code.
func (m *machine) leave(exit int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.killed {
		m.exit = exit
	}
}

// exitOf is the exit code, of a program that has ended.
func (m *machine) exitOf() int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// programs are what a session's container does, by its first argument.
var programs = map[string]func(*machine){
	"short":     runs(3 * time.Minute),           // ends its session and exits 0
	"long":      runs(100 * time.Hour),           // until it is told to stop
	"fails":     leaves(2*time.Minute, 1),        // exits 1, and leaves its session open
	"forgetful": leaves(4*time.Minute, 0),        // exits 0, and leaves its session open
	"deaf":      deaf,                            // hears no SIGTERM
	"crashes":   func(m *machine) { m.leave(2) }, // starts no session
	"impostor":  impostor,                        // reports the session of another program too
}

func (m *machine) run() {
	defer close(m.ended)
	m.node.world.judge.programBegins(m)
	defer m.node.world.judge.programEnds(m)
	programs[m.pod.Spec.Containers[0].Args[0]](m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = m.node.world.clocks.trueTime().Add(-m.behind)
}

// lives waits, until the program is told to stop or killed. It reports whether it was killed.
func (m *machine) lives(d time.Duration) (killed bool) {
	select {
	case <-m.Done():
	case <-m.dead:
	case <-time.After(d):
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

// runs is a program that holds a session for some time, or until it is told to stop, and ends it.
func runs(d time.Duration) func(*machine) {
	return func(m *machine) {
		token, id := m.begin()
		if id == "" || m.lives(d) {
			return
		}
		m.call("DELETE", "/sessions/"+id, token, "")
	}
}

// leaves is a program that ends without ending its session.
func leaves(after time.Duration, exit int32) func(*machine) {
	return func(m *machine) {
		if _, id := m.begin(); id != "" {
			m.lives(after)
			m.leave(exit)
		}
	}
}

// impostor is a program that wants the operator to end the session of another one. It leaves its own open.
func impostor(m *machine) {
	if _, id := m.begin(); id == "" {
		return
	}
	m.lives(2 * time.Minute)
	if victim := m.node.world.judge.victimOf(m); victim != "" {
		m.tell(fmt.Sprintf(`{"sessionId":%q}`, victim))
	}
	m.leave(1)
}

// deaf is a program that has to be killed.
func deaf(m *machine) {
	if _, id := m.begin(); id != "" {
		<-m.dead
	}
}
