package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// sessionPatience is how long the demo waits for what a pod does.
const sessionPatience = time.Minute

// session is what one read showed of a ReactorSession, of its pod and of what Reactor bills.
type session struct {
	status v1alpha1.ReactorSessionStatus
	pod    *corev1.Pod // of the current attempt; nil without one
	ledger ledger
}

// lookAt reads a ReactorSession. What cannot be read looks as if it were not there.
func (d *demo) lookAt(ctx context.Context, name string) session {
	seen := session{}
	object := &v1alpha1.ReactorSession{}
	if d.stage.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object) != nil {
		return seen
	}
	seen.status = object.Status
	seen.ledger, _ = d.stage.reactor.ledger(ctx)
	if attempt := object.Status.CurrentAttempt; attempt != nil {
		pod := &corev1.Pod{}
		if d.stage.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: attempt.PodName}, pod) == nil {
			seen.pod = pod
		}
	}
	return seen
}

// reason is that of the condition Ready, which kubectl shows as STATUS.
func (s session) reason() string {
	if ready := meta.FindStatusCondition(s.status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return "no condition Ready"
}

// runs reports whether the session runs, with one Reactor session that is billed.
func (s session) runs() bool {
	return s.reason() == v1alpha1.ReasonRunning && s.pod != nil && s.ledger.OpenSessions == 1
}

// billing says how many Reactor sessions are billed.
func (s session) billing() string { return fmt.Sprintf("%d open", s.ledger.OpenSessions) }

// awaitSession looks at a ReactorSession until it is as wanted, and returns whether it was.
func (d *demo) awaitSession(ctx context.Context, name string, wanted func(session) bool) bool {
	return d.awaitThat(ctx, sessionPatience, func(ctx context.Context) bool { return wanted(d.lookAt(ctx, name)) })
}

// completes runs a session to its end.
func (d *demo) completes(ctx context.Context) error {
	d.say.text("A ReactorSession runs a container as a live, billed Reactor session. It is examples/session-worker here, in a real pod:")
	for _, command := range []string{"cat test/demo/render.yaml", "kubectl apply -f test/demo/render.yaml"} {
		if err := d.mustRun(ctx, command); err != nil {
			return err
		}
	}
	began := time.Now()
	if d.awaitSession(ctx, "render", session.runs) {
		d.say.good("runs after %s: first its token, then its pod", seconds(time.Since(began)))
	}
	d.run(ctx, "kubectl get rses,pods")
	done := func(s session) bool {
		return meta.IsStatusConditionTrue(s.status.Conditions, v1alpha1.ConditionComplete) && s.ledger.OpenSessions == 0
	}
	d.awaitSession(ctx, "render", done)
	d.run(ctx, "kubectl get rses,pods")
	d.say.blank()
	d.say.text("The pod stays, with its log, as long as the session does:")
	d.run(ctx, "kubectl logs --tail=3 -l reactor.inc/attempt=1")

	seen := d.lookAt(ctx, "render")
	d.record("a session completes", "Completed, 0 open", seen.reason()+", "+seen.billing(), done(seen))
	return nil
}

// suspended stops a session and lets it go on.
func (d *demo) suspended(ctx context.Context) error {
	if err := d.mustRun(ctx, "kubectl apply -f test/demo/night.yaml"); err != nil {
		return err
	}
	d.awaitSession(ctx, "night", session.runs)
	d.run(ctx, "kubectl get rses night")
	d.say.blank()
	d.say.text("It is to stop. Its program gets SIGTERM, ends its Reactor session, and the operator makes sure of that:")
	d.run(ctx, `kubectl patch rses night --type=merge -p '{"spec":{"suspend":true}}'`)
	stopped := func(s session) bool { return s.reason() == v1alpha1.ReasonSuspended && s.ledger.OpenSessions == 0 }
	d.awaitSession(ctx, "night", stopped)
	d.run(ctx, "kubectl get rses night")
	seen := d.lookAt(ctx, "night")
	d.record("session suspended", "Suspended, 0 open", seen.reason()+", "+seen.billing(), stopped(seen))

	d.say.blank()
	d.say.text("And to go on, which is another attempt, with a pod and a token of its own:")
	d.run(ctx, `kubectl patch rses night --type=merge -p '{"spec":{"suspend":false}}'`)
	d.awaitSession(ctx, "night", session.runs)
	d.run(ctx, "kubectl get rses night")
	seen = d.lookAt(ctx, "night")
	d.record("session resumed", "Running, attempt 2, 1 open", fmt.Sprintf("%s, attempt %d, %s", seen.reason(), seen.status.Attempts, seen.billing()),
		seen.runs() && seen.status.Attempts == 2)
	return nil
}

// rotatedBelow replaces the API key while a session runs.
func (d *demo) rotatedBelow(ctx context.Context) error {
	before := d.lookAt(ctx, "night")
	if err := d.writeKey("key-3", newKey()); err != nil {
		return err
	}
	d.say.text("A session runs with the key that is about to be replaced and revoked:")
	third, err := d.introduceKey(ctx, "key-3")
	if err != nil {
		return err
	}
	d.run(ctx, "kubectl get pods -o \\\ncustom-columns=NAME:.metadata.name,UID:.metadata.uid,PHASE:.status.phase,RESTARTS:.status.containerStatuses[0].restartCount")
	if err := d.mustRun(ctx, replaceKey("reactor-api-key", "key-3")); err != nil {
		return err
	}
	if _, err := d.tellReactor(ctx, http.MethodDelete, "/_emulator/keys", "@key-2.json"); err != nil {
		return err
	}
	renewed := func(now look) bool {
		ledger, err := d.stage.reactor.ledger(ctx)
		origin, known := ledger.of(now.token.id)
		return err == nil && known && origin.Key == third && now.ready()
	}
	if _, ok := d.await(ctx, "web", patience, renewed); ok {
		d.say.good("ReactorToken web has a token by the new key: the operator has seen it")
	}
	d.run(ctx, "kubectl get pods -o \\\ncustom-columns=NAME:.metadata.name,UID:.metadata.uid,PHASE:.status.phase,RESTARTS:.status.containerStatuses[0].restartCount")

	after := d.lookAt(ctx, "night")
	same := before.runs() && after.runs() && before.pod.UID == after.pod.UID && restartsOf(after.pod) == 0 && before.ledger.open() == after.ledger.open()
	d.record("key rotated below it", v1alpha1.ReasonRunning+", 0 restarts, "+before.identity(),
		fmt.Sprintf("%s, %d restarts, %s", after.reason(), restartsOf(after.pod), after.identity()), same)
	return nil
}

// identity is what must not change while a session runs: its pod, and the session at Reactor.
func (s session) identity() string {
	return fmt.Sprintf("pod %s, session %s", uidOf(s.pod), short(cmp.Or(s.ledger.open(), "none")))
}

// restartsOf is how often containers of a pod were started again.
func restartsOf(pod *corev1.Pod) (restarts int32) {
	if pod != nil {
		for _, container := range pod.Status.ContainerStatuses {
			restarts += container.RestartCount
		}
	}
	return restarts
}

func uidOf(pod *corev1.Pod) string {
	if pod == nil {
		return "none"
	}
	return short(string(pod.UID))
}

// fails runs a session whose program fails.
func (d *demo) fails(ctx context.Context) error {
	d.say.text("The session of before is suspended, and another one applied, whose program leaves its Reactor session open and exits 3:")
	d.run(ctx, `kubectl patch rses night --type=merge -p '{"spec":{"suspend":true}}'`)
	d.awaitSession(ctx, "night", func(s session) bool { return s.ledger.OpenSessions == 0 })
	if err := d.mustRun(ctx, "kubectl apply -f test/demo/flawed.yaml"); err != nil {
		return err
	}
	d.awaitSession(ctx, "flawed", session.failed)
	d.run(ctx, "kubectl get rses flawed")
	d.run(ctx, "kubectl get rses flawed -o \\\n"+`jsonpath='{.status.conditions[?(@.type=="Failed")].message}'`)
	seen := d.lookAt(ctx, "flawed")
	last := seen.last()
	if last.Cleanup == v1alpha1.CleanupEnded {
		d.say.good("the program left its Reactor session open, and the operator has ended it")
	}
	d.run(ctx, "kubectl get rses")
	const message = "attempt 1 ended: ExitCode (exit code 3)"
	told := "no message"
	if found := meta.FindStatusCondition(seen.status.Conditions, v1alpha1.ConditionFailed); found != nil {
		told, _, _ = strings.Cut(found.Message, ": {") // what follows is what the program reported
	}
	d.record("a session that fails", "Failed, 0 open, clean-up Ended", fmt.Sprintf("%s, %s, clean-up %s", seen.end(), seen.billing(), cmp.Or(last.Cleanup, "none")),
		seen.failed() && last.Cleanup == v1alpha1.CleanupEnded)
	d.record("what its user reads", message, told, seen.failed() && told == message)
	return d.showBill(ctx)
}

// failed reports whether the session has failed, and nothing of it is billed any more.
func (s session) failed() bool {
	return s.end() == v1alpha1.ConditionFailed && s.ledger.OpenSessions == 0
}

// end is the condition that says how the session has ended; the reason of Ready before that.
func (s session) end() string {
	for _, condition := range []string{v1alpha1.ConditionFailed, v1alpha1.ConditionComplete} {
		if meta.IsStatusConditionTrue(s.status.Conditions, condition) {
			return condition
		}
	}
	return s.reason()
}

// last is the attempt that ended last; an empty one when none has.
func (s session) last() v1alpha1.EndedAttempt {
	if len(s.status.RecentAttempts) == 0 {
		return v1alpha1.EndedAttempt{}
	}
	return s.status.RecentAttempts[0]
}

// showBill shows what Reactor has billed.
func (d *demo) showBill(ctx context.Context) error {
	d.say.blank()
	d.say.text("What Reactor has billed, and how each session ended:")
	d.say.request(http.MethodGet, ledgerPath, "")
	all, err := d.stage.reactor.ledger(ctx)
	for _, billed := range all.Sessions {
		d.say.output(fmt.Sprintf(`… "state":%q,"end_reason":%q,"billed_seconds":%.1f …`, billed.State, billed.EndReason, billed.BilledSeconds))
	}
	return err
}
