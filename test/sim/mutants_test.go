package sim

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	withMutants = flag.Bool("mutants", false, "break the operator on purpose, and want the rules to notice")
	mutantSeeds = flag.Int("mutant-seeds", 60, "how many schedules each mutant is played with at the most")
)

// mutant is a change of the operator's source that breaks it. rules are those that have to notice; any of them will do.
type mutant struct {
	name, file, rule, instead string
	rules                     []string
}

// mutants are what the rules have to notice. None of them is looked for by a test that was written for it.
var mutants = []mutant{
	{"renewals without jitter", "reactortoken/renewal.go", "jitter := spread(uid, terms.granted/jitterShare)", "jitter := spread(uid, 0)", []string{ruleSpread}},
	{"a key that changes is not noticed", "reactortoken/decide.go",
		`case observed.key.Fingerprint != "" && observed.key.Fingerprint != current.KeyFingerprint:`, "case false:", []string{ruleCurrent}},
	{"a token of another run counts as none", "reactortoken/decide.go",
		"case observed.target.Edited:", "case observed.target.Edited || observed.clocks.elapsed == 0:", []string{ruleMints}},
	{"Retry-After is ignored", "../mintqueue/key.go", "	if retryAfter <= 0 {", "	if retryAfter = 0; retryAfter <= 0 {", []string{ruleLimits}},
	{"our own clock is trusted", "reactortoken/clocks.go",
		"		return []time.Time{wall.Add(written.Skew), written", "		return []time.Time{wall, written", []string{ruleMints, ruleTruth, ruleValid}},
	{"the monotonic clock is ignored", "reactortoken/clocks.go",
		"		return []time.Time{wall.Add(written.Skew), written.IssuedAt.Add(c.elapsed)}", "		return []time.Time{wall.Add(written.Skew)}", []string{ruleValid, ruleTruth}},
	{"the wall clock is ignored", "reactortoken/clocks.go",
		"		return []time.Time{wall.Add(written.Skew), written.IssuedAt.Add(c.elapsed)}", "		return []time.Time{written.IssuedAt.Add(c.elapsed)}", []string{ruleValid, ruleTruth}},
	{"the stored skew alone corrects the clock", "reactortoken/clocks.go",
		"	case !c.measured.at.IsZero():\n", "	case c.now.After(time.Time{}):\n		return []time.Time{wall.Add(written.Skew)}\n	case !c.measured.at.IsZero():\n", []string{ruleValid, ruleTruth}},
	{"the newest measured skew is not used", "reactortoken/clocks.go", "	case !c.measured.at.IsZero():\n", "	case false:\n", []string{ruleValid, ruleTruth, ruleMints}},
	{"a measurement corrects no clock that was ahead", "reactortoken/clocks.go", "&targetsecret.Record{}).Abs() > measureTolerance", "&targetsecret.Record{}) > measureTolerance", []string{ruleTruth}},
	{"a token that waits for the API server is dropped when the old one is valid", "reactortoken/act.go",
		" && !current.ExpiresAt.Before(result.pending.token.ExpiresAt)", "", []string{ruleMints}},
	{"the version of a Secret that is not as wanted stays in status", "reactortoken/report.go", "		status.SecretResourceVersion = \"\"\n	}\n", "	}\n", []string{ruleCurrent}},
	{"a proxy's page counts as Reactor's refusal", "../reactor/answers.go",
		"	case status < 400 || status > 599, status == http.StatusProxyAuthRequired, !proven:\n", "	case status > 599:\n", []string{ruleTruth, ruleValid}},
	{"a proxy's 404 page means that a session is over", "../reactor/session.go",
		"failure.StatusCode == http.StatusNotFound && !failure.Intermediary", "failure.StatusCode == http.StatusNotFound", []string{ruleTruth, ruleEnded, ruleSingle}},
	{"a refusal is never retried", "reactortoken/decide.go", "	if wait := next.Sub(observed.clocks.now); wait <= 0 ||",
		"	if reason == v1alpha1.ReasonRequestRefused {\n		next = next.DeepCopy()\n		next.Time = observed.clocks.now.Add(time.Hour)\n	} else if wait := next.Sub(observed.clocks.now); wait <= 0 ||", []string{ruleRetried}},
	{"a refusal is retried without regard to the expiry", "reactortoken/answers.go",
		"	case failed.untilExpiring > 0:\n		wait = min(wait, failed.untilExpiring)", "	case failed.untilExpiring > 0:\n		_ = wait", []string{ruleRetried}},
	{"a refused key is first tried after 15 minutes", "../mintqueue/key.go", "		wait = min(now.Sub(k.rejectedSince)+k.minProbeWait, maxProbeWait)\n", "		wait = maxProbeWait\n", []string{ruleValid}},
	{"the probe ignores the remaining life", "../mintqueue/key.go", "		wait = min(wait, max(left/probeShare, probeFloor))\n", "		_ = left\n", []string{ruleValid}},
	{"every token of a refused key carries the probe time", "../mintqueue/key.go", "	if status.Closed && k.prober == object {", "	if status.Closed {", []string{ruleRest}},
	{"a refused key is tried every second", "../mintqueue/key.go", "	k.until, k.prober = now.Add(wait), r.Object\n", "	k.until, k.prober = now.Add(min(wait, time.Second)), r.Object\n", []string{ruleLimits}},
	{"a limited key is forgotten with the object that used it", "../mintqueue/queue.go", "		if !k.closed(now) {\n			delete(q.unused, fingerprint)", "		if !k.closed(now) || k.state == KeyRateLimited {\n			delete(q.unused, fingerprint)", []string{ruleLimits}},
	{"a refused key is forgotten with the object that used it", "../mintqueue/queue.go", "		if !k.closed(now) {\n			delete(q.unused, fingerprint)", "		if !k.closed(now) || k.state == KeyRejected {\n			delete(q.unused, fingerprint)", []string{ruleLimits}},
	{"a probe that a token brings forward doubles the wait", "../mintqueue/key.go", "		k.rejectedSince = now\n	}\n",
		"		k.rejectedSince = now\n	} else {\n		k.rejectedSince = k.rejectedSince.Add(-now.Sub(k.rejectedSince) - MinProbeWait)\n	}\n", []string{ruleValid}},
	{"a failed renewal makes a token not ready", "reactortoken/report.go",
		"	case v.valid:\n		return metav1.ConditionTrue", "	case v.valid && v.obstacle == nil:\n		return metav1.ConditionTrue", []string{ruleTruth}},
	{"the backoff does not know the expiry", "reactortoken/renewal.go",
		"	return min(max(lifetime/mintBackoffShare, mintBackoffBase), mintBackoffCap)", "	return 3 * time.Hour", []string{ruleValid}},
	{"a token whose write is refused is thrown away", "reactortoken/act.go",
		"		return writeFailed(token, observed, reactor.RedactError(err, pending.token.JWT), now, pending.token.Left(now), result)\n",
		"		result.pending = nil\n		return writeFailed(token, observed, reactor.RedactError(err, pending.token.JWT), now, pending.token.Left(now), result)\n", []string{ruleMints}},
	{"other people's Secrets are taken over", "reactortoken/decide.go", "	notOurs,          // ", "	// ", []string{ruleForeign}},
	{"no budget for mints", "reactortoken/state.go", "budgetBurst  = 10", "budgetBurst  = 100000", []string{ruleMints}},
	{"three quick edits of a key are not awaited", "reactortoken/watches.go", "keyDebounce = time.Second", "keyDebounce = 0", []string{ruleMints}},
	{"nothing is redacted", "../reactor/redact.go", "func Redact(s string, known ...Secret) string {", "func Redact(s string, known ...Secret) string {\n	if s != \"\" {\n		return s\n	}", []string{ruleSecrecy}},
	{"status is written before the Secret", "reactortoken/act.go", "	adopted := observed.target.Adopted()\n	version, err := r.writeSecret(",
		`	adopted := observed.target.Adopted()
	first := buildReport(token, observed, plan{}, actResult{clocks: r.timekeeper.clocksAt(r.clock.Now(), pending.token.ReceivedAt), record: written, issued: true})
	state := r.states.of(token)
	if state.status, _, result.err = r.writeStatus(ctx, token, state.status, first); result.err != nil {
		return result
	}
	version, err := r.writeSecret(`, []string{ruleTruth}},
	{"what a former leader writes over a status stays", "reactortoken/reconciler.go", "	case <-timer.C():\n		r.requeueAll(ctx)\n", "	case <-timer.C():\n", []string{ruleTruth}},
	{"a pod is made of which its attempt in status does not know", "reactorsession/create.go",
		"pod, state := attempts.BuildPod(live, &live.Status, live.Status.CurrentAttempt, r.settings), observed.state",
		`pod, state := attempts.BuildPod(live, &live.Status, &v1alpha1.SessionAttempt{Number: attempt.Number, TokenName: attempt.TokenName, PodName: attempt.PodName + "-" + rand.String(5)}, r.settings), observed.state`,
		[]string{ruleSingle}},
	{"a pod is let go without a clean-up", "../cleanup/cleanup.go",
		"	t := try{", "	if true {\n		return Result{Cleanup: v1alpha1.CleanupAlreadyOver}, progress\n	}\n	t := try{", []string{ruleEnded, ruleSingle}},
	{"a session that Reactor refuses to the attempt's own token is ended with another one", "../cleanup/ownership.go",
		"	case statusOf(refusal) == http.StatusForbidden && !renewed:\n		return foreign\n", "", []string{ruleTheirs}},
	{"a DELETE that Reactor accepts is the end of a session", "../cleanup/cleanup.go",
		"	return found, &stillOpenError{id}\n", "	return found, nil\n", []string{ruleTruth}},
	{"what has succeeded starts again", "../attempts/next.go",
		"case ended.Class == v1alpha1.ClassSucceeded && policy != v1alpha1.RestartAlways:", "case ended.Class == v1alpha1.ClassSucceeded && policy == v1alpha1.RestartNever:", []string{ruleDone}},
	{"maxDuration is left to the kubelet", "reactorsession/stop.go",
		"		reason, stopAt = outcome.StopDuration, observed.now.Add(left-times.RanFor(status.State.Running.StartedAt.Time, observed.now))\n", "		return \"\", time.Time{}\n", []string{ruleBounded}},
	{"a rotated key stops the pods that had the old one", "reactorsession/decide.go",
		"	reason, stopAt := stopWanted(session, observed)\n", "	reason, stopAt := stopWanted(session, observed)\n	if observed.key.Fingerprint != attempt.KeyFingerprint {\n		reason = outcome.StopSpecChanged\n	}\n", []string{rulePods}},
	{"a rotated key is written to the pods that had the old one", "reactorsession/act.go", "	metadata, restore, refused := r.patchPodMetadata(ctx, session, observed, planned)\n",
		`	if observed.pod != nil && observed.key.Fingerprint != "" && observed.pod.Annotations["key"] != observed.key.Fingerprint {
		if _, err := r.patch(ctx, observed.pod, map[string]any{"metadata": map[string]any{"annotations": map[string]string{"key": observed.key.Fingerprint}}}); err != nil {
			unchanged := observed.state
			return result{err: err, state: &unchanged}
		}
	}
	metadata, restore, refused := r.patchPodMetadata(ctx, session, observed, planned)
`, []string{rulePods}},
	{"a conflict is retried immediately", "reactorsession/controller.go", "	if len(conflict) > 0 {", "	if len(conflict) > 9 {", []string{ruleRest}},
	{"each pass is followed by another at once", "reactortoken/controller.go", "	return schedule(ctx, planned.requeue",
		"	r.requeue(mintqueue.RequeueRegular, request.NamespacedName)\n	return schedule(ctx, planned.requeue", []string{ruleRest}},
	{"an attempt whose token was changed is followed by the next one immediately", "reactorsession/report.go", "	case next.Wait == 0:\n",
		"	case next.Wait == 0 || ended.Reason == outcome.ReasonTokenChanged:\n", []string{ruleRest}},
	{"a pod gets a token with another scope", "../attempts/request.go", `return c.path() == "spec.lifetime"`, `return c.path() != ""`, []string{ruleBounded}},
	{"a deleted session waits forever for a pod that cannot be released", "reactorsession/decide.go",
		"	if isReleaseRefused(session, observed) {", "	if isReleaseRefused(session, observed) && session == nil {", []string{ruleRest}},
	{"a refused write is not reported", "reactorsession/act.go", "		if result.failed == nil && planned.do != doSuspendToken {", "		if result.failed == nil && planned.do == doDeleteObject {", []string{ruleTruth}},
	{"a token of another owner is not reported", "reactorsession/start.go", "	if observed.taken {\n", "	if observed.taken && session == nil {\n", []string{ruleTruth}},
	{"capacity is not kept", "reactorsession/create.go", "	if waits == nil {\n", "	if waits == nil || true {\n", []string{ruleCapacity}},
	{"a rotated key has a pool of its own", "../capacity/limiter.go",
		`return u.Current != "" && u.Current != u.Fingerprint`, `return u.Current == "never"`, []string{ruleCapacity}},
	{"a limit that a quota lowered is never raised", "../capacity/pool.go",
		"for ; !now.Before(limited.raise) && ", "for ; limited.limit == 0 && ", []string{ruleIdle}},
	{"a refusal that lasts until a user pays is retried as any other", "../attempts/next.go",
		"refusedWait(status.RecentAttempts) > 0:", "refusedWait(status.RecentAttempts) < 0:", []string{ruleRefused}},
	{"an account without credits is a failure of the program", "../outcome/refusal.go",
		"	{http.StatusPaymentRequired, \"\", v1alpha1.ReasonCreditsDepleted},\n", "", []string{ruleRefused}},
	{"a model without free servers is a failure of the program", "../outcome/outcome.go",
		"	case reported.refusal != \"\":\n", "	case reported.refusal != \"\" && reported.refusal != ReasonNoModelCapacity:\n", []string{ruleRefused}},
	{"one 404 is the end of a session", "../cleanup/cleanup.go", "	if !over.Unknown || ", "	if over.ID != \"\" || ", []string{ruleTruth, ruleEnded, ruleSingle}},
	{"a token that was deleted is created again without a read", "reactorsession/create.go",
		"	if state.tokenCreated == attempt.Number {\n", "	if state.tokenCreated == attempt.Number && session == nil {\n", []string{ruleRest}},
	{"a token is requested without a slot", "reactorsession/create.go",
		"	if waiting := r.admit(ctx, session, observed); waiting != nil {\n		return *waiting\n	}\n	attempt, state := observed.status.CurrentAttempt, observed.state\n", "	attempt, state := observed.status.CurrentAttempt, observed.state\n", []string{ruleCapacity}},
	{"a token is requested while its pod is queued", "reactorsession/start.go", "	case len(attempts.OtherGates(pod)) > 0:\n", "	case len(attempts.OtherGates(pod)) > 7:\n", []string{ruleQueued}},
	{"the gate is removed before the token is ready", "reactorsession/start.go", "		return awaitToken(observed, pending)\n", "		return next\n", []string{ruleFresh}},
	{"a pod that is queued holds a slot", "reactorsession/create.go",
		"	case observed.pod != nil && !outcome.HasEnded(observed.pod) && !attempts.IsGated(observed.pod):\n", "	case observed.pod != nil && !outcome.HasEnded(observed.pod):\n", []string{ruleIdle, ruleCapacity}},
	{"a slot is kept while the token waits for its key", "reactorsession/start.go",
		"		return &plan{ready: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: token.Stalled,", "		return &plan{slot: true, ready: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: token.Stalled,", []string{ruleIdle}},
	{"the renewal of a token stops while its pod is queued", "reactorsession/start.go",
		"		return &plan{ready: waitFor(v1alpha1.ReasonSchedulingGated, \"the pod waits", "		return &plan{do: doSuspendToken, ready: waitFor(v1alpha1.ReasonSchedulingGated, \"the pod waits", []string{ruleFresh}},
	{"how a lost pod ended is forgotten", "reactorsession/decide.go", "	case observed.ending != nil: //", "	case observed.ending != nil && observed.pod != nil: //", []string{ruleDone, ruleEnded}},
	{"a refused key ends a cleanup", "../cleanup/cleanup.go", "	if err != nil {\n		return unscoped{}, err\n	}\n	return unscoped{jwt",
		"	if reactor.ClassOf(err) == reactor.ClassKeyRefused {\n		err = &notEndableError{err.Error()}\n	}\n	if err != nil {\n		return unscoped{}, err\n	}\n	return unscoped{jwt", []string{ruleEnded, ruleSingle}},
	{"the renewal of a token stops that does not last", "reactorsession/start.go", "	return left >= needs\n", "	return left >= 0 || needs > 0\n", []string{ruleFresh}},
}

// TestTheRulesNotice breaks the operator in many ways, each by a patch of its source, and plays schedules that are drawn, and then those
// that are kept, until a rule is broken that speaks of it. A mutant that survives shows that a rule, or the schedules, cannot see.
func TestTheRulesNotice(t *testing.T) {
	if !*withMutants {
		t.Skip("make sim-mutants compiles the operator once for each mutant, and takes minutes")
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			program := m.compile(t)
			const batch = 20
			for seed := 0; seed < *mutantSeeds; seed += batch {
				drawn := []string{"^TestSchedules$", "-from", strconv.Itoa(seed), "-seeds", strconv.Itoa(batch)}
				if rule, how := m.noticed(t, program, drawn...); rule != "" {
					t.Logf("noticed by %q within %d schedules: %s", rule, seed+batch, how)
					return
				}
			}
			rule, how := m.noticed(t, program, "^TestKeptSchedules$")
			if rule == "" {
				t.Fatalf("nobody noticed in %d schedules, and in those that are kept", *mutantSeeds)
			}
			t.Logf("noticed by %q in a schedule that is kept: %s", rule, how)
		})
	}
}

// TestTheMutantsFit is what of TestTheRulesNotice runs always: a change of the operator's source must not make a mutant one of nothing.
func TestTheMutantsFit(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.patched(t) })
	}
}

// patched is the mutant's source, and where its original stands.
func (m mutant) patched(t *testing.T) (source, original string) {
	t.Helper()
	original, err := filepath.Abs(filepath.Join("../../internal/controller", m.file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), m.rule) != 1 {
		t.Fatalf("%s: %s does not hold once what is to be changed: %q", m.name, m.file, m.rule)
	}
	source = strings.Replace(string(text), m.rule, m.instead, 1)
	if strings.Contains(m.instead, "rand.String") {
		source = strings.Replace(source, "import (\n", "import (\n\t\"k8s.io/apimachinery/pkg/util/rand\"\n", 1)
	}
	return source, original
}

// compile builds the simulator with the mutant in it.
func (m mutant) compile(t *testing.T) string {
	t.Helper()
	changed, original := m.patched(t)
	folder := t.TempDir()
	patched, overlay, program := filepath.Join(folder, "mutant.go"), filepath.Join(folder, "overlay.json"), filepath.Join(folder, "sim.test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: patched}})
	if err := errors.Join(err, os.WriteFile(patched, []byte(changed), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "-overlay", overlay, ".").CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not compile: %v\n%s", err, said)
	}
	return program
}

// noticed plays schedules with the mutant, and returns the first of its rules that was broken, and how that was told. which begins with the
// pattern of the tests that play them.
func (m mutant) noticed(t *testing.T, program string, which ...string) (rule, how string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	command := exec.CommandContext(ctx, program, append([]string{"-shrink", "0s", "-test.timeout", "10m", "-test.run"}, which...)...)
	said, err := command.CombinedOutput()
	if err == nil {
		return "", ""
	}
	for line := range strings.Lines(string(said)) {
		if at := slices.IndexFunc(m.rules, func(rule string) bool { return strings.Contains(line, ": "+rule+": ") }); at >= 0 {
			return m.rules[at], strings.TrimSpace(line[:min(len(line), 300)])
		}
	}
	t.Logf("broken in another way:\n%s", said[:min(len(said), 2000)])
	return "", ""
}
