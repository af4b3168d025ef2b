package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// sessionRule is one rule of the CRD of ReactorSessions, with a spec on either side of it.
type sessionRule struct {
	name, accepted, refused, says string
}

var sessionRules = []sessionRule{
	{"a session has a model", `model: reactor/helios`, `model: ""`, "A model must be the full name of one model"},
	{"a model has no wildcard", `model: helios`, `model: reactor/*`, "Wildcards are not supported."},
	{"a start deadline is a duration", `startDeadline: 5m`, `startDeadline: 5min`, "A duration must be in whole hours"},
	{"a start deadline is not a moment", `startDeadline: 10s`, `startDeadline: 9s`, "startDeadline must be at least 10s."},
	{"a longest duration is not a moment", `maxDuration: 10s`, `maxDuration: 9s`, "maxDuration must be at least 10s."},
	{"a time after the end is a duration", `ttlAfterFinished: 0s`, `ttlAfterFinished: soon`, "A duration must be in whole hours"},
	{"a backoff limit is not negative", `backoffLimit: 0`, `backoffLimit: -1`, "should be greater than or equal to 0"},
	{"a restart policy is one of three", `restartPolicy: Always`, `restartPolicy: Sometimes`, "Unsupported value"},
	{"a delivery is one of two", `credentials: {delivery: APIKeyEnv}`, `credentials: {delivery: Mail}`, "Unsupported value"},
	{"a token starts at least one session", `credentials: {maxSessions: 500}`, `credentials: {maxSessions: 501}`, "maxSessions must be from 1 to 500."},
}

// sessionWith is a manifest with a field that takes the place of the usual one.
func sessionWith(name, field string) string {
	spec := map[string]any{
		"model": "reactor/helios", "apiKeySecretRef": map[string]any{"name": keySecret},
		"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "stream", "image": "example.com/stream"}}}},
	}
	if err := yaml.Unmarshal([]byte(field), &spec); err != nil {
		panic(err)
	}
	text, _ := json.Marshal(map[string]any{"apiVersion": "reactor.inc/v1alpha1", "kind": "ReactorSession", "metadata": map[string]any{"name": name}, "spec": spec})
	return string(text)
}

func TestEachRuleOfASessionRefusesAndSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, nil)
	for i, rule := range sessionRules {
		t.Run(rule.name, func(t *testing.T) {
			if _, said, ok := kubectl(t, sessionWith(fmt.Sprintf("good-%d", i), rule.accepted), "-n", namespace, "apply", "-f", "-"); !ok {
				t.Errorf("%s was refused: %s", rule.accepted, said)
			}
			_, said, ok := kubectl(t, sessionWith(fmt.Sprintf("bad-%d", i), rule.refused), "-n", namespace, "apply", "-f", "-")
			if ok || !strings.Contains(said, rule.says) {
				t.Errorf("%s: accepted %t; said %s", rule.refused, ok, said)
			}
		})
	}
	t.Run("the model cannot be changed", func(t *testing.T) {
		mustApply(t, namespace, sessionWith("fixed", `model: reactor/helios`))
		_, said, ok := kubectl(t, sessionWith("fixed", `model: reactor/other`), "-n", namespace, "apply", "-f", "-")
		if ok || !strings.Contains(said, "The model of a session cannot be changed. Create another ReactorSession.") {
			t.Errorf("accepted %t; said %s", ok, said)
		}
	})
	t.Run("a typo in a container is refused", func(t *testing.T) {
		typo := `template: {spec: {containers: [{name: stream, image: a, comand: [b]}]}}`
		_, said, ok := kubectl(t, sessionWith("typo", typo), "-n", namespace, "apply", "-f", "-")
		if ok || !strings.Contains(said, "comand") {
			t.Errorf("accepted %t; said %s", ok, said)
		}
	})
	t.Run("the template keeps its labels", func(t *testing.T) {
		mustApply(t, namespace, sessionWith("labelled", `template: {metadata: {labels: {team: night}}, spec: {containers: [{name: s, image: a}]}}`))
		if got := mustKubectl(t, "-n", namespace, "get", "rses", "labelled", "-o", "jsonpath={.spec.template.metadata.labels.team}"); got != "night" {
			t.Errorf("the label is %q", got)
		}
	})
}

func mustApply(t *testing.T, namespace, manifest string) {
	t.Helper()
	if _, said, ok := kubectl(t, manifest, "-n", namespace, "apply", "-f", "-"); !ok {
		t.Fatal(said)
	}
}

// A client-side apply puts the whole object into an annotation, of which an object may have 262,144 bytes in all.
func TestTheKindOfSessionsIsSmallEnoughForAClientSideApply(t *testing.T) {
	file := crds + "/reactor.inc_reactorsessions.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := yaml.YAMLToJSON(text)
	if err != nil || len(compact) > 150_000 {
		t.Errorf("%d bytes, %v", len(compact), err)
	}
	if said := mustKubectl(t, "apply", "-f", file); !strings.Contains(said, "customresourcedefinition.apiextensions.k8s.io/reactorsessions.reactor.inc") {
		t.Error(said)
	}
	t.Logf("%d bytes of JSON", len(compact))
}

// sessionIs waits until Ready of a session has this reason.
func (w *world) sessionIs(name, reason string) *v1alpha1.ReactorSession {
	w.t.Helper()
	session := &v1alpha1.ReactorSession{}
	expect.Eventually(w.t, name+" to be "+reason, func() error {
		if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, session); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	return session
}

// podOf waits for the pod of an attempt.
func (w *world) podOf(session string, attempt int32) *corev1.Pod {
	w.t.Helper()
	pod := &corev1.Pod{}
	expect.Eventually(w.t, "the pod of "+session, func() error {
		current := &v1alpha1.ReactorSession{}
		if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: session}, current); err != nil {
			return err
		}
		if at := current.Status.CurrentAttempt; at == nil || at.Number != attempt {
			return fmt.Errorf("the current attempt is %+v", at)
		}
		return w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: current.Status.CurrentAttempt.PodName}, pod)
	})
	return pod
}

// play writes what a kubelet would write of the session's container; there is none here.
func (w *world) play(pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) {
	w.t.Helper()
	expect.Eventually(w.t, "the status of pod "+pod.Name, func() error {
		if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		pod.Status.Phase = phase
		if deadline := pod.Spec.ActiveDeadlineSeconds; phase == corev1.PodFailed && deadline != nil && *deadline == 1 { // the operator stopped it
			pod.Status.Reason = "DeadlineExceeded"
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: pod.Spec.Containers[0].Name, State: state, Image: "i", ImageID: "i"}}
		return w.kube.Status().Update(w.t.Context(), pod)
	})
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
}

func ended(began metav1.Time, exit int32, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Message: message, StartedAt: began, FinishedAt: metav1.Now()}}
}

// startReactorSession does what a program does with the token in its file.
func (w *world) startReactorSession(pod *corev1.Pod) string {
	w.t.Helper()
	volume := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil })
	token := string(w.secret(pod.Spec.Volumes[volume].Secret.SecretName).Data["jwt"])
	asked := httptest.NewRequest(http.MethodPost, "/sessions", strings.NewReader(`{"model":{"name":"reactor/helios"}}`))
	asked.Header.Set("Authorization", "Bearer "+token)
	answered := httptest.NewRecorder()
	w.reactor.Emulator.ServeHTTP(answered, asked)
	var started struct {
		ID string `json:"session_id"`
	}
	if err := json.Unmarshal(answered.Body.Bytes(), &started); err != nil || started.ID == "" {
		w.t.Fatalf("Reactor answered %d: %v", answered.Code, err)
	}
	return started.ID
}

func (w *world) createSession(name string, change func(*v1alpha1.ReactorSession)) {
	w.t.Helper()
	session := &v1alpha1.ReactorSession{}
	if err := yaml.Unmarshal([]byte(sessionWith(name, "restartPolicy: OnFailure")), session); err != nil {
		w.t.Fatal(err)
	}
	session.Namespace = w.namespace
	if change != nil {
		change(session)
	}
	if err := w.kube.Create(w.t.Context(), session); err != nil {
		w.t.Fatal(err)
	}
}

// sessionWorld is a world in which an operator may run sessions.
func sessionWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.reactor.SetSessionTimes(0, 0, 0)
	return w
}

func TestASessionRunsFailsRunsAgainAndCompletes(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start()
	w.createSession("night", nil)
	w.sessionIs("night", v1alpha1.ReasonStarting)
	first := w.podOf("night", 1)
	id := w.startReactorSession(first)
	began := metav1.Now()
	w.play(first, corev1.PodRunning, running())
	w.sessionIs("night", v1alpha1.ReasonRunning)
	w.play(first, corev1.PodFailed, ended(began, 1, fmt.Sprintf(`{"sessionId":%q}`, id)))
	backing := w.sessionIs("night", v1alpha1.ReasonBackingOff)
	if got := backing.Status.RecentAttempts[0]; got.Class != v1alpha1.ClassFailed || got.Cleanup != v1alpha1.CleanupEnded {
		t.Errorf("the first attempt is told as %+v", got)
	}
	if open := w.reactor.Ledger().Open(); len(open) != 0 {
		t.Errorf("%d Reactor sessions are open: %+v", len(open), open)
	}
	second := w.podOf("night", 2) // after its backoff
	w.play(second, corev1.PodRunning, running())
	w.play(second, corev1.PodSucceeded, ended(began, 0, ""))
	done := w.sessionIs("night", v1alpha1.ReasonCompleted)
	if done.Status.Attempts != 2 || done.Status.RecentAttempts[0].Cleanup != v1alpha1.CleanupUnverified {
		t.Errorf("status %+v", done.Status)
	}
	expect.Eventually(t, "the pods to be let go, and the tokens to be gone", func() error {
		for _, pod := range []*corev1.Pod{first, second} {
			if err := w.kube.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || len(pod.Finalizers) > 0 {
				return fmt.Errorf("finalizers %v, %w", pod.Finalizers, err)
			}
			err := w.kube.Get(t.Context(), client.ObjectKeyFromObject(pod), &v1alpha1.ReactorToken{})
			if !apierrors.IsNotFound(err) {
				return errors.New("the token is still there")
			}
		}
		return nil
	})
	if state := w.reactor.Ledger().Sessions[0].State; state != emulator.StateClosed {
		t.Errorf("the session is %s", state)
	}
}

// A killed operator finds what it left: no second pod, whatever it had got to.
func TestAKilledOperatorStartsNoSecondPod(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	const many = 4
	for i := range many {
		w.createSession(fmt.Sprintf("night-%d", i), nil)
	}
	for range 6 {
		o := w.start("--session-starts-per-minute=0", "--sessions-per-key=0")
		o.kill()
	}
	w.start("--session-starts-per-minute=0", "--sessions-per-key=0")
	for i := range many {
		name := fmt.Sprintf("night-%d", i)
		session := w.sessionIs(name, v1alpha1.ReasonStarting)
		if session.Status.Attempts != 1 {
			t.Errorf("%s is at its attempt %d", name, session.Status.Attempts)
		}
	}
	pods := &corev1.PodList{}
	if err := w.kube.List(t.Context(), pods, client.InNamespace(w.namespace)); err != nil || len(pods.Items) != many {
		t.Errorf("%d pods for %d sessions, %v", len(pods.Items), many, err)
	}
}

func TestAFinishedSessionIsDeletedAfterItsTime(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start()
	w.createSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.TTLAfterFinished = "1s" })
	pod := w.podOf("night", 1)
	began := metav1.Now()
	w.play(pod, corev1.PodRunning, running())
	w.play(pod, corev1.PodSucceeded, ended(began, 0, ""))
	w.waitUntilGone(&v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "night"}})
}

// The session manifests that people copy, those of the samples and those of the examples, run in the strictest namespaces.
func TestTheSampleSessionsPassPodSecurityRestricted(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	namespace := &corev1.Namespace{}
	if err := w.kube.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if err := w.kube.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.start("--session-starts-per-minute=0", "--sessions-per-key=0")
	for _, file := range sessionFiles(t) {
		mustKubectl(t, "-n", w.namespace, "apply", "-f", file)
		for _, session := range objectsIn(t, file) {
			w.sessionIs(session.GetName(), v1alpha1.ReasonStarting)
		}
	}
	// The control: a template that states nothing is refused there, and the session says so.
	w.createSession("loose", nil)
	refused := w.sessionIs("loose", v1alpha1.ReasonPodRefused)
	if message := meta.FindStatusCondition(refused.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, "restricted") {
		t.Errorf("the condition says %s", message)
	}
}

// The operator has its rights from a Role in the namespace, which goes with it. Pods go before.
func TestADeletedSessionAndADeletedNamespaceGo(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start()
	w.createSession("night", nil)
	pod := w.podOf("night", 1)
	w.play(pod, corev1.PodRunning, running())
	w.sessionIs("night", v1alpha1.ReasonRunning)
	w.createSession("other", nil)
	w.podOf("other", 1)
	w.deleteObject(&v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "night"}})
	w.waitUntilGone(&v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "night"}})
	w.deleteObject(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}})
	w.waitUntilGone(&v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "other"}})
}
