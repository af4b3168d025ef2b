package outcome

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// podWith is a pod whose status is written as the API server shows it.
func podWith(t *testing.T, status string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Name, pod.Annotations = "night-1", map[string]string{ContainerAnnotation: "stream"}
	pod.Spec.NodeName = "node"
	if err := yaml.UnmarshalStrict([]byte(status), &pod.Status); err != nil {
		t.Fatal(err)
	}
	return pod
}

// terminated is the status of a container that ran for a minute.
func terminated(rest string) string {
	return `containerStatuses: [{name: stream, ready: false, restartCount: 0, image: i, imageID: i, state: {terminated: {` +
		`startedAt: "2026-03-01T11:59:00Z", finishedAt: "2026-03-01T12:00:00Z", ` + rest + `}}}]`
}

// The statuses are those that kubelets of Kubernetes 1.37 write.
func TestEachEndOfAnAttemptIsSomebodysMatter(t *testing.T) {
	tests := []struct {
		name    string
		status  string
		change  func(*corev1.Pod)
		attempt v1alpha1.SessionAttempt
		want    string
	}{
		{name: "exit code 0", status: "phase: Succeeded\n" + terminated(`exitCode: 0, reason: Completed`), want: "Succeeded Completed 1m0s"},
		{name: "exit code 1", status: "phase: Failed\n" + terminated(`exitCode: 1, reason: Error`), want: "Failed ExitCode 1m0s"},
		{name: "killed", status: "phase: Failed\n" + terminated(`exitCode: 137, reason: Error`), want: "Failed ExitCode 1m0s"},
		{name: "out of memory", status: "phase: Failed\n" + terminated(`exitCode: 137, reason: OOMKilled`), want: "Failed OOMKilled 1m0s"},
		{name: "evicted for lack of memory on the node", status: "phase: Failed\nreason: Evicted\nmessage: low on memory\n" + terminated(`exitCode: 137, reason: Error`),
			want: "Ignored Evicted 1m0s"},
		{name: "evicted before it started", status: "phase: Failed\nreason: Evicted", want: "Ignored Evicted 0s"},
		{name: "evicted through the API", status: "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'True', reason: EvictionByEvictionAPI}]\n" + terminated(`exitCode: 143, reason: Error`),
			want: "Ignored EvictionByEvictionAPI 1m0s"},
		{name: "evicted, with a program that ended well on its signal", status: "phase: Succeeded\nconditions: [{type: DisruptionTarget, status: 'True', reason: EvictionByEvictionAPI}]\n" + terminated(`exitCode: 0, reason: Completed`),
			want: "Ignored EvictionByEvictionAPI 1m0s"},
		{name: "preempted", status: "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'True', reason: PreemptionByScheduler}]\n" + terminated(`exitCode: 143, reason: Error`),
			want: "Ignored PreemptionByScheduler 1m0s"},
		{name: "a node that was shut down", status: "phase: Failed\nreason: Terminated\nconditions: [{type: DisruptionTarget, status: 'True', reason: TerminationByKubelet}]\n" + terminated(`exitCode: 143, reason: Error`),
			want: "Ignored TerminationByKubelet 1m0s"},
		{name: "collected with its node", status: "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'True', reason: DeletionByPodGC}]", want: "Ignored DeletionByPodGC 0s"},
		{name: "a disruption that did not come about", status: "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'False', reason: PreemptionByScheduler}]\n" + terminated(`exitCode: 1, reason: Error`),
			want: "Failed ExitCode 1m0s"},
		{name: "never started", status: "phase: Failed", want: "Ignored NeverStarted 0s"},
		{name: "a container that could not be started", status: "phase: Failed\ncontainerStatuses: [{name: stream, ready: false, restartCount: 0, image: i, imageID: '', state: {terminated: {exitCode: 128, reason: StartError, startedAt: '1970-01-01T00:00:00Z', finishedAt: '2026-03-01T12:00:00Z'}}}]",
			want: "Ignored NeverStarted 0s"},
		{name: "a container that the kubelet lost sight of", status: "phase: Failed\ncontainerStatuses: [{name: stream, ready: false, restartCount: 0, image: i, imageID: '', state: {terminated: {exitCode: 137, reason: ContainerStatusUnknown, startedAt: null, finishedAt: null}}}]",
			attempt: v1alpha1.SessionAttempt{StartTime: &metav1.Time{Time: noon}}, want: "Ignored ContainerStatusUnknown 0s"},
		{name: "a container that the kubelet lost track of, and that was never observed running", status: "phase: Failed\ncontainerStatuses: [{name: stream, ready: false, restartCount: 0, image: i, imageID: '', state: {terminated: {exitCode: 137, reason: ContainerStatusUnknown, startedAt: null, finishedAt: null}}}]",
			want: "Ignored ContainerStatusUnknown 0s"},
		{name: "deleted by hand", status: "phase: Failed\n" + terminated(`exitCode: 143, reason: Error`), change: deleted, want: "Ignored PodDeleted 1m0s"},
		{name: "stopped by us", status: "phase: Failed\n" + terminated(`exitCode: 143, reason: Error`), change: deleted, attempt: v1alpha1.SessionAttempt{StopReason: StopSuspended},
			want: "Stopped Suspended 1m0s"},
		{name: "given up before it started", status: "phase: Pending", change: deleted, attempt: v1alpha1.SessionAttempt{StopReason: StopStartDeadline}, want: "Ignored NeverStarted 0s"},
		{name: "ended before its sidecars", status: "phase: Succeeded\n" + terminated(`exitCode: 0, reason: Completed`), change: deleted, attempt: v1alpha1.SessionAttempt{StopReason: StopContainerEnded},
			want: "Succeeded Completed 1m0s"},
		{name: "failed before its sidecars", status: "phase: Failed\n" + terminated(`exitCode: 7, reason: Error`), change: deleted, attempt: v1alpha1.SessionAttempt{StopReason: StopContainerEnded},
			want: "Failed ExitCode 1m0s"},
		{name: "the kubelet's backstop", status: "phase: Failed\nreason: DeadlineExceeded\n" + terminated(`exitCode: 143, reason: Error`),
			change: func(pod *corev1.Pod) { pod.Annotations[BackstopAnnotation] = "maxDuration" }, want: "Stopped DurationReached 1m0s"},
		{name: "the template's own deadline", status: "phase: Failed\nreason: DeadlineExceeded\n" + terminated(`exitCode: 143, reason: Error`), want: "Failed DeadlineExceeded 1m0s"},
		{name: "a rate limit", status: "phase: Failed\n" + terminated(`exitCode: 1, `+`message: '{"error":{"code":"RATE_LIMITED"}}'`), want: "Ignored RateLimited 1m0s"},
		{name: "Reactor's own failure", status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"SERVER_ERROR"}}'`), want: "Ignored ReactorFailed 1m0s"},
		{name: "an expired or used-up token", status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"UNAUTHORIZED"}}'`),
			attempt: v1alpha1.SessionAttempt{TokenName: "night-1"}, want: "Ignored TokenExpired 1m0s"},
		{name: "a refused key", status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"UNAUTHORIZED"}}'`), want: "KeyRefused APIKeyRefused 1m0s"},
		{name: "an error of the program's own", status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"BAD_REQUEST"}}'`), want: "Failed ExitCode 1m0s"},
		{name: "credits that are depleted", status: "phase: Failed\n" + terminated(refusedWith("BAD_REQUEST", 402, `{"error":"credits_depleted","message":"Your credits have been depleted."}`)), want: "Ignored CreditsDepleted 1m0s"},
		{name: "an account without billing", status: "phase: Failed\n" + terminated(refusedWith("BAD_REQUEST", 402, `{"error":"billing_not_setup","url":"https://reactor.inc/billing"}`)), want: "Ignored BillingNotSetUp 1m0s"},
		{name: "402 alone", status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"status":402}}'`), want: "Ignored CreditsDepleted 1m0s"},
		{name: "no server for the model", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"no available capacity: no available servers to handle the request"}`)), want: "Ignored NoModelCapacity 1m0s"},
		{name: "the account's quota of sessions", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"quota_exceeded","quota_type":"concurrent_sessions"}`)), want: "Ignored QuotaExceeded 1m0s"},
		{name: "the model's quota of sessions", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"quota_exceeded","quota_type":"concurrent_sessions_per_model"}`)), want: "Ignored ModelQuotaExceeded 1m0s"},
		{name: "the quota of starts", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"quota_exceeded","quota_type":"sessions_per_minute"}`)), want: "Ignored RateLimited 1m0s"},
		{name: "the quota of connections", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"quota_exceeded","quota_type":"connections_per_session"}`)), want: "Ignored TooManyConnections 1m0s"},
		{name: "a token that is used up", status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, `{"error":"quota_exceeded","quota_type":"sessions_per_token"}`)), want: "Ignored TokenUsedUp 1m0s"},
		{name: "the words of a refusal in another error", status: "phase: Failed\n" + terminated(refusedWith("BAD_REQUEST", 400, `no available capacity, credits_depleted`)), want: "Failed ExitCode 1m0s"},
		{name: "an error that the program got over", status: "phase: Succeeded\n" + terminated(`exitCode: 0, message: '{"error":{"code":"RATE_LIMITED"}}'`), want: "Succeeded Completed 1m0s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := podWith(t, test.status)
			if test.change != nil {
				test.change(pod)
			}
			if !HasEnded(pod) && test.attempt.StopReason != StopStartDeadline {
				t.Error("the pod has not ended")
			}
			got := Of(pod, &test.attempt, noon)
			if diff := cmp.Diff(test.want, string(got.Class)+" "+got.Reason+" "+got.Running.String()); diff != "" {
				t.Errorf("end (-want +got):\n%s", diff)
			}
		})
	}
}

// refusedWith is the end of a program that reports an error of an SDK, whose message quotes the body of Reactor's answer.
func refusedWith(code string, status int, body string) string {
	message, err := json.Marshal("POST /sessions failed with " + strconv.Itoa(status) + ": " + body)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`exitCode: 1, message: '{"error":{"code":%q,"status":%d,"message":%s}}'`, code, status, message)
}

// Whether a Reactor session may be open decides whether the operator reports that it does not know.
func TestWhetherAnAttemptMayHaveLeftAReactorSession(t *testing.T) {
	container := func(state string) string {
		return "containerStatuses: [{name: stream, ready: false, restartCount: 0, image: i, imageID: '', state: {" + state + "}}]"
	}
	pulling := container("waiting: {reason: ContainerCreating}")
	byPodGC := "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'True', reason: DeletionByPodGC}]\n"
	limited := `message: '{"error":{"code":"RATE_LIMITED"}}'`
	for name, test := range map[string]struct {
		status  string
		change  func(*corev1.Pod)
		attempt v1alpha1.SessionAttempt
		want    bool
	}{
		"it ran":            {status: "phase: Failed\n" + terminated(`exitCode: 1`), want: true},
		"it succeeded":      {status: "phase: Succeeded\n" + terminated(`exitCode: 0`), want: true},
		"no node was found": {status: "phase: Pending", change: func(pod *corev1.Pod) { deleted(pod); pod.Spec.NodeName = "" }},
		"no node was found, and the pod is collected":     {status: byPodGC, change: func(pod *corev1.Pod) { pod.Spec.NodeName = "" }},
		"the kubelet refused the pod":                     {status: "phase: Failed\nreason: OutOfcpu"},
		"the kubelet evicted it before it started":        {status: "phase: Failed\nreason: Evicted\n" + pulling},
		"an init container failed":                        {status: "phase: Failed\n" + container("waiting: {reason: PodInitializing}")},
		"the container could not be started":              {status: "phase: Failed\n" + container("terminated: {exitCode: 128, reason: StartError, startedAt: '1970-01-01T00:00:00Z', finishedAt: '2026-03-01T12:00:00Z'}")},
		"the kubelet lost sight of it":                    {status: "phase: Failed\n" + container("terminated: {exitCode: 137, reason: ContainerStatusUnknown, startedAt: null, finishedAt: null}"), want: true},
		"its node was lost while it pulled":               {status: byPodGC + pulling, want: true},
		"its node was lost before it reported":            {status: byPodGC, want: true},
		"its node was lost after it could not be started": {status: byPodGC + container("terminated: {exitCode: 128, reason: StartError, startedAt: '1970-01-01T00:00:00Z', finishedAt: '2026-03-01T12:00:00Z'}")},
		"its node was lost while it ran":                  {status: byPodGC + container("running: {startedAt: '2026-03-01T11:00:00Z'}"), want: true},
		"it was observed running, and not afterwards":     {status: "phase: Failed\nreason: UnexpectedAdmissionError", attempt: v1alpha1.SessionAttempt{StartTime: &metav1.Time{Time: noon}}, want: true},

		"a rate limit let it start none":           {status: "phase: Failed\n" + terminated("exitCode: 1, "+limited)},
		"a quota let it start none":                {status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"QUOTA_EXCEEDED"}}'`)},
		"credits that are depleted":                {status: "phase: Failed\n" + terminated(refusedWith("BAD_REQUEST", 402, "credits_depleted"))},
		"no server for the model":                  {status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, "no available capacity"))},
		"the quota of connections":                 {status: "phase: Failed\n" + terminated(refusedWith("RATE_LIMITED", 429, "connections_per_session")), want: true},
		"a rate limit after a session":             {status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"sessionId":"a"} {"error":{"code":"RATE_LIMITED"}}'`), want: true},
		"a rate limit that was not the last error": {status: "phase: Failed\n" + terminated(`exitCode: 1, message: '{"error":{"code":"RATE_LIMITED"}} {"error":{"code":"SERVER_ERROR"}}'`), want: true},
		"a rate limit that it got over":            {status: "phase: Succeeded\n" + terminated("exitCode: 0, "+limited), want: true},
		"a rate limit, and it was stopped":         {status: "phase: Failed\n" + terminated("exitCode: 143, "+limited), change: deleted, attempt: v1alpha1.SessionAttempt{StopReason: StopSuspended}, want: true},
		"a rate limit at the end of a message that may be cut": {want: true, status: "phase: Failed\n" +
			terminated(`exitCode: 1, message: '`+strings.Repeat(".", cutFrom)+` {"error":{"code":"RATE_LIMITED"}}'`)},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podWith(t, test.status)
			if test.change != nil {
				test.change(pod)
			}
			if got := Of(pod, &test.attempt, noon); got.MayHaveSession != test.want {
				t.Errorf("it may have left a Reactor session: %t; %s %s", got.MayHaveSession, got.Class, got.Reason)
			}
		})
	}
}

func deleted(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: noon} }

func TestWhatAProgramSaysIsReadWithCare(t *testing.T) {
	for name, test := range map[string]struct {
		message  string
		sessions []string
		code     string
	}{
		"nothing":                      {"", nil, ""},
		"a session":                    {`{"sessionId":"3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11"}`, []string{"3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11"}, ""},
		"two, and an error":            {"{\"sessionId\":\"a\"}\n{\"sessionId\":\"b\"}\n{\"error\":{\"code\":\"RATE_LIMITED\"}}\n", []string{"a", "b"}, "RATE_LIMITED"},
		"the last error":               {"{\"error\":{\"code\":\"A\"}}\n{\"error\":{\"code\":\"B\"}}", nil, "B"},
		"both in one line":             {`{"sessionId":"a","error":{"code":"A"}}`, []string{"a"}, "A"},
		"other lines":                  {"panic: no\n{\"sessionId\":\"a\"}\n{\"level\":\"info\"}\n[1]\n\"text\"\n", []string{"a"}, ""},
		"an id that is a path":         {`{"sessionId":"../tokens"}`, nil, ""},
		"an id that is a number":       {`{"sessionId":7}`, nil, ""},
		"a code that is a text":        {`{"error":{"code":"it failed"}}`, nil, ""},
		"a line that is cut":           {`{"sessionId":"a"`, nil, ""},
		"the same id again and again":  {strings.Repeat("{\"sessionId\":\"a\"}\n", 20) + "{\"sessionId\":\"b\"}\n", []string{"a", "b"}, ""},
		"an id that comes back":        {"{\"sessionId\":\"a\"}\n{\"sessionId\":\"b\"}\n{\"sessionId\":\"a\"}\n", []string{"b", "a"}, ""},
		"more ids than are cleaned up": {lines(1, maxSessions+4), ids(5, maxSessions+4), ""}, // the last ones are those that may be open
		"no end of line between":       {`{"sessionId":"a"}{"error":{"code":"A"}} {"sessionId":"b"}`, []string{"a", "b"}, "A"},
		"text after an object":         {`{"sessionId":"a"} and so on`, []string{"a"}, ""},
		"an error that is no object":   {`{"error":"no","sessionId":"a"}`, []string{"a"}, ""},
		"lines that end in a return":   {"{\"sessionId\":\"a\"}\r\n{\"sessionId\":\"b\"}\r\n", []string{"a", "b"}, ""},
		"an id next to a wrong member": {`{"sessionId":"a","error":[]}`, []string{"a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := parseMessage(test.message)
			got.failure = failure{code: got.failure.code}
			if diff := cmp.Diff(report{test.sessions, failure{code: test.code}}, got, cmp.AllowUnexported(report{}, failure{})); diff != "" {
				t.Errorf("heard (-want +got):\n%s", diff)
			}
		})
	}
}

// ids are those of sessions with numbers.
func ids(from, to int) []string {
	var all []string
	for number := from; number <= to; number++ {
		all = append(all, fmt.Sprintf("session-%d", number))
	}
	return all
}

// lines returns them as text.
func lines(from, to int) string {
	return `{"sessionId":"` + strings.Join(ids(from, to), "\"}\n{\"sessionId\":\"") + `"}`
}

// secretsInTexts are of the forms that a program may report by mistake.
var secretsInTexts = []string{"eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl", "rk_0123456789abcdef0123"}

// A termination message comes out of a container: whatever it contains, an id is safe in a path, and nothing that status shows is long.
func FuzzTerminationMessage(f *testing.F) {
	for _, message := range []string{
		"", "panic: no\n", lines(1, 20), `{"sessionId":"../tokens"}`, `{"sessionId":"a"}{"error":{"code":"UNAUTHORIZED"}}`, `{"sessionId":["a"]}`,
		`{"error":{"code":"RATE_LIMITED"}}`, `{"error":{"status":429,"message":"\"retry_after_seconds\":999999","retry_after_ms":-1e300}}`, "used rk_0123456789abcdef0123", "\xff\x00\n", "{\"SESSIONID\":\"a\"}\r\n[[[[", `{"sessionId":"a","sessionId":"b"}`,
	} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		parsed := parseMessage(message)
		if len(parsed.sessions) > maxSessions || len(slices.Compact(slices.Sorted(slices.Values(parsed.sessions)))) != len(parsed.sessions) {
			t.Fatalf("sessions %q", parsed.sessions)
		}
		for _, id := range parsed.sessions {
			if !reactor.IsSessionID(id) || url.PathEscape(id) != id {
				t.Fatalf("%q is heard as an id", id)
			}
		}
		if read := parsed.failure; read.code != "" && !isErrorCode(read.code) || read.retryAfter < 0 || read.retryAfter > maxRetryAfter {
			t.Fatalf("heard is %+v", read)
		}
		if got := SafeMessage(message); len(got) > maxMessage || utf8.ValidString(message) && !utf8.ValidString(got) {
			t.Fatalf("status shows %q", got)
		}
		for _, secret := range secretsInTexts {
			if got := SafeMessage(message + " " + secret + " is bad"); strings.Contains(got, secret[:12]) && !strings.Contains(message, secret[:12]) {
				t.Fatalf("status shows %q", got)
			}
		}
	})
}

func TestAMessageIsKeptWithoutSecretsAndCutShort(t *testing.T) {
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl"
	if got := SafeMessage("used " + token + " and rk_0123456789abcdef0123"); strings.Contains(got, "eyJ") || strings.Contains(got, "rk_0") {
		t.Errorf("kept as %s", got)
	}
	if got := SafeMessage(strings.Repeat("ü", 500)); len(got) > maxMessage {
		t.Errorf("%d bytes", len(got))
	}
}

// The kubelet keeps the end of a long message. What is left of a secret whose start it cut off has no form by which it is known.
func TestAMessageThatStartsInTheMiddleOfASecretDoesNotShowTheRestOfIt(t *testing.T) {
	const rest = "c2lnbmF0dXJlIG9mIGEgdG9rZW4.YW5vdGhlciBwYXJ0"
	for _, length := range []int{1024, 2048, 3072, 4096} {
		for _, after := range []string{" the model went away\n", "\nthe model went away\n", `","error":"the model went away"}`} {
			message := rest + after
			message += strings.Repeat(".", length-len(message))
			got := SafeMessage(message)
			if strings.Contains(got, rest[:8]) || !strings.Contains(got, "the model went away") {
				t.Errorf("of %d bytes, %q after the rest of a token: SafeMessage is %s", length, after, got)
			}
		}
		if got := SafeMessage(strings.Repeat("x", length)); strings.Contains(got, "x") {
			t.Errorf("of %d bytes without an end of the first word: SafeMessage is %s", length, got)
		}
	}
	if got := SafeMessage("died " + rest); !strings.Contains(got, "died") {
		t.Errorf("a message that was not cut starts with %s", got)
	}
}

func TestWhetherAPodHasEnded(t *testing.T) {
	ended := "containerStatuses: [{name: stream, state: {terminated: {exitCode: 0}}}, {name: sidecar, state: {%s}}]"
	for name, test := range map[string]struct {
		status  string
		deleted bool
		unbound bool
		want    bool
	}{
		"it runs":                                    {status: "phase: Running"},
		"it succeeded":                               {status: "phase: Succeeded", want: true},
		"it failed":                                  {status: "phase: Failed", want: true},
		"it is pending":                              {status: "phase: Pending"},
		"it was deleted before it was bound":         {status: "phase: Pending", deleted: true, unbound: true, want: true},
		"it is not bound":                            {status: "phase: Pending", unbound: true},
		"it was deleted, and a sidecar runs":         {status: "phase: Running\n" + strings.Replace(ended, "%s", "running: {}", 1), deleted: true},
		"it was deleted, and all have ended":         {status: "phase: Running\n" + strings.Replace(ended, "%s", "terminated: {exitCode: 0}", 1), deleted: true, want: true},
		"it was deleted, and nothing is known of it": {status: "phase: Pending", deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podWith(t, test.status)
			if test.deleted {
				deleted(pod)
			}
			if test.unbound {
				pod.Spec.NodeName = ""
			}
			if got := HasEnded(pod); got != test.want {
				t.Errorf("ended: %t", got)
			}
		})
	}
}

func TestWhoWasFirstDecidesAnEnd(t *testing.T) {
	seconds := func(n int) *metav1.Time { return new(metav1.NewTime(noon.Add(time.Duration(n) * time.Second))) } // after the container ended
	evicted := func(at *metav1.Time) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", LastTransitionTime: *at}}
	}
	for name, test := range map[string]struct {
		deleted *metav1.Time // the deletion timestamp
		grace   int64
		evicted *metav1.Time
		expired int64 // how long after the start of the pod, a minute before the end of the container, the kubelet ended it
		stop    string
		want    v1alpha1.AttemptClass
	}{
		"a stop was recorded, and the pod was not deleted": {stop: StopSuspended, want: v1alpha1.ClassSucceeded},
		"it was stopped, and the kubelet has not deleted it for good": {
			deleted: seconds(20), grace: 30, stop: StopSuspended, want: v1alpha1.ClassStopped},
		"it was stopped, and the kubelet has deleted it for good": {
			deleted: seconds(1), stop: StopSuspended, want: v1alpha1.ClassStopped},
		"it was stopped, and the kubelet has deleted it for good, late": {
			deleted: seconds(90), stop: StopSuspended, want: v1alpha1.ClassStopped},
		"it was deleted before, with a grace period that had not passed": {
			deleted: seconds(30), grace: 60, want: v1alpha1.ClassIgnored},
		"it was deleted before, and the kubelet has deleted it for good": {
			deleted: seconds(2), want: v1alpha1.ClassIgnored},
		"it was deleted before, by force": {
			deleted: seconds(-2), want: v1alpha1.ClassIgnored},
		"it was deleted in the moment before its pod had ended": {
			deleted: seconds(31), grace: 30, want: v1alpha1.ClassSucceeded},
		"it was deleted when it had ended long ago": {
			deleted: seconds(90), want: v1alpha1.ClassSucceeded},
		"it was evicted afterwards": {evicted: seconds(30), want: v1alpha1.ClassSucceeded},
		"it was evicted before":     {evicted: seconds(-30), want: v1alpha1.ClassIgnored},
		"its sidecars were evicted in the same second": {
			evicted: seconds(0), deleted: seconds(1), stop: StopContainerEnded, want: v1alpha1.ClassSucceeded},
		"its sidecars ran into the deadline":       {expired: 90, want: v1alpha1.ClassSucceeded},
		"it ran into the deadline itself":          {expired: 60, want: v1alpha1.ClassStopped},
		"it was evicted before, and deleted later": {evicted: seconds(-30), deleted: seconds(90), want: v1alpha1.ClassIgnored},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podWith(t, "phase: Succeeded\n"+terminated(`exitCode: 0, reason: Completed`))
			pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = test.deleted, &test.grace
			if test.evicted != nil {
				pod.Status.Conditions = evicted(test.evicted)
			}
			if test.expired > 0 {
				pod.Annotations[BackstopAnnotation] = "maxDuration"
				pod.Status.Reason, pod.Status.StartTime, pod.Spec.ActiveDeadlineSeconds = reasonDeadlineExceeded, seconds(-60), &test.expired
			}
			if got := Of(pod, &v1alpha1.SessionAttempt{Number: 1, StopReason: test.stop}, noon); got.Class != test.want {
				t.Errorf("%s %s, want %s", got.Class, got.Reason, test.want)
			}
		})
	}
}

func TestTheTimeOnALostNodeCounts(t *testing.T) {
	pod := podWith(t, "phase: Failed\nconditions: [{type: DisruptionTarget, status: 'True', reason: DeletionByPodGC, lastTransitionTime: '2026-03-01T11:00:00Z'}]\n"+
		`containerStatuses: [{name: stream, ready: true, restartCount: 0, image: i, imageID: i, state: {running: {startedAt: "2026-03-01T08:00:00Z"}}}]`)
	start := metav1.NewTime(noon.Add(-4 * time.Hour))
	if end := Of(pod, &v1alpha1.SessionAttempt{Number: 1, PodName: "night-1", StartTime: &start}, noon); end.Running != 3*time.Hour {
		t.Errorf("class %s, reason %s, ran %s", end.Class, end.Reason, end.Running)
	}
}

// The cleanup has its whole time, for each session that was reported.
