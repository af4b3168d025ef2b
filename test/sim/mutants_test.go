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
	{"a refused key is first tried after 15 minutes", "../mintqueue/key.go", "		wait = min(now.Sub(k.rejectedSince)+MinProbeWait, maxProbeWait)\n", "		wait = maxProbeWait\n", []string{ruleValid}},
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
	{"a pod is made of which its attempt in status does not know", "reactorsession/create.go",
		"pod := buildPod(live, &live.Status, live.Status.CurrentAttempt, r.settings)",
		`pod := buildPod(live, &live.Status, &v1alpha1.SessionAttempt{Number: attempt.Number, TokenName: attempt.TokenName, PodName: attempt.PodName + "-" + rand.String(5)}, r.settings)`,
		[]string{ruleSingle}},
	{"a pod is let go without a clean-up", "reactorsession/cleanup.go",
		"	tried := mem.cleanupOf(", "	if true {\n		return v1alpha1.CleanupAlreadyOver, 0, nil\n	}\n	tried := mem.cleanupOf(", []string{ruleEnded, ruleSingle}},
	{"a session that Reactor refuses to the attempt's own token is ended with another one", "reactorsession/cleanup.go",
		"	case statusOf(refusal) == http.StatusForbidden && !renewed:\n		return foreign\n", "", []string{ruleTheirs}},
	{"a DELETE that Reactor accepts is the end of a session", "reactorsession/cleanup.go",
		"	return found, &stillOpenError{id}\n", "	return found, nil\n", []string{ruleTruth}},
	{"what has succeeded begins again", "reactorsession/verdict.go",
		"case ended.Class == v1alpha1.ClassSucceeded && policy != v1alpha1.RestartAlways:", "case ended.Class == v1alpha1.ClassSucceeded && policy == v1alpha1.RestartNever:", []string{ruleDone}},
	{"maxDuration is left to the kubelet", "reactorsession/decide.go",
		"		reason, at = outcome.StopDuration, seen.now.Add(left-sighted.ranFor(status.State.Running.StartedAt.Time, seen.now))\n", "		return \"\", time.Time{}\n", []string{ruleBounded}},
	{"a rotated key stops the pods that had the old one", "reactorsession/decide.go",
		"	reason, at := stopWanted(session, seen)\n", "	reason, at := stopWanted(session, seen)\n	if seen.key.Fingerprint != attempt.KeyFingerprint {\n		reason = outcome.StopSpecChanged\n	}\n", []string{rulePods}},
	{"a rotated key is told to the pods that had the old one", "reactorsession/act.go", "	markAgain, marked := r.patchPodMetadata(ctx, session, mem, seen, planned)\n",
		`	if seen.pod != nil && seen.key.Fingerprint != "" && seen.pod.Annotations["key"] != seen.key.Fingerprint {
		if _, err := r.patch(ctx, seen.pod, map[string]any{"metadata": map[string]any{"annotations": map[string]string{"key": seen.key.Fingerprint}}}); err != nil {
			return result{retry: err}
		}
	}
	markAgain, marked := r.patchPodMetadata(ctx, session, mem, seen, planned)
`, []string{rulePods}},
	{"a conflict is retried at once", "reactorsession/controller.go", "	if len(conflict) > 0 {", "	if len(conflict) > 9 {", []string{ruleRest}},
	{"each pass is followed by another at once", "reactortoken/controller.go", "	return schedule(ctx, planned.requeue",
		"	r.requeue(mintqueue.RequeueRegular, request.NamespacedName)\n	return schedule(ctx, planned.requeue", []string{ruleRest}},
	{"an attempt whose token was changed is followed by the next one at once", "reactorsession/report.go", "	if finish == \"\" && wait > 0 {\n",
		"	if finish == \"\" && wait > 0 && ended.Reason != outcome.ReasonTokenChanged {\n", []string{ruleRest}},
	{"a pod gets a token with another scope", "reactorsession/request.go", `return c.path() == "spec.lifetime"`, `return c.path() != ""`, []string{ruleBounded}},
	{"a deleted session waits forever for a pod that cannot be released", "reactorsession/release.go",
		"	if isReleaseRefused(session, seen) {", "	if isReleaseRefused(session, seen) && session == nil {", []string{ruleRest}},
	{"a refused write is not reported", "reactorsession/act.go", "	if done.failed == nil && planned.do != doHoldToken {", "	if done.failed == nil && planned.do == doDeleteObject {", []string{ruleTruth}},
	{"a token of somebody else is not reported", "reactorsession/start.go", "	if seen.taken {\n", "	if seen.taken && session == nil {\n", []string{ruleTruth}},
	{"capacity is not kept", "reactorsession/slots.go", "	if waits == nil {\n", "	if waits == nil || true {\n", []string{ruleCapacity}},
	{"a rotated key has a pool of its own", "../capacity/limiter.go",
		`return u.Current != "" && u.Current != u.Fingerprint`, `return u.Current == "never"`, []string{ruleCapacity}},
	{"a limit that a quota lowered is never raised", "../capacity/pool.go",
		"for ; !now.Before(limited.raise) && ", "for ; limited.limit == 0 && ", []string{ruleIdle}},
	{"a refusal that lasts until a person pays is retried as any other", "reactorsession/verdict.go",
		"refusedWait(status.RecentAttempts) > 0:", "refusedWait(status.RecentAttempts) < 0:", []string{ruleRefused}},
	{"an account without credits is a failure of the program", "../outcome/refusal.go",
		"	{http.StatusPaymentRequired, \"\", v1alpha1.ReasonCreditsDepleted},\n", "", []string{ruleRefused}},
	{"a model without free servers is a failure of the program", "../outcome/outcome.go",
		"	case reported.refusal != \"\":\n", "	case reported.refusal != \"\" && reported.refusal != ReasonNoModelCapacity:\n", []string{ruleRefused}},
	{"a 404 is believed at once", "reactorsession/memory.go", "	if !over.Unknown || ", "	if over.ID != \"\" || ", []string{ruleTruth, ruleEnded, ruleSingle}},
	{"a token that was deleted is created again without a look", "reactorsession/create.go",
		"	if mem.tokenOf == attempt.Number {\n", "	if mem.tokenOf == attempt.Number && session == nil {\n", []string{ruleRest}},
	{"a token is requested without a slot", "reactorsession/create.go",
		"	if waiting := r.admit(ctx, session, mem, seen); waiting != nil {\n		return *waiting\n	}\n	attempt := seen.status.CurrentAttempt\n	if mem.", "	attempt := seen.status.CurrentAttempt\n	if mem.", []string{ruleCapacity}},
	{"a token is requested while its pod is queued", "reactorsession/start.go", "	case len(otherGates(pod)) > 0:\n", "	case len(otherGates(pod)) > 7:\n", []string{ruleQueued}},
	{"the gate is removed before the token is ready", "reactorsession/start.go", "		return awaitToken(seen, pending)\n", "		return next\n", []string{ruleFresh}},
	{"a pod that is queued holds a slot", "reactorsession/slots.go",
		"	case seen.pod != nil && !outcome.HasEnded(seen.pod) && !isGated(seen.pod):\n", "	case seen.pod != nil && !outcome.HasEnded(seen.pod):\n", []string{ruleIdle, ruleCapacity}},
	{"a slot is kept while the token waits for its key", "reactorsession/start.go",
		"		return &plan{show: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: state.stalled,", "		return &plan{slot: true, show: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: state.stalled,", []string{ruleIdle}},
	{"a token is held while its pod is queued", "reactorsession/start.go",
		"		return &plan{show: waitFor(v1alpha1.ReasonSchedulingGated, \"the pod waits", "		return &plan{do: doHoldToken, show: waitFor(v1alpha1.ReasonSchedulingGated, \"the pod waits", []string{ruleFresh}},
	{"what was seen of a lost pod is forgotten", "reactorsession/decide.go", "	case seen.ending != nil: //", "	case seen.ending != nil && seen.pod != nil: //", []string{ruleDone, ruleEnded}},
	{"a refused key ends a cleanup", "reactorsession/cleanup.go", "	return token.JWT, used.Fingerprint, err\n",
		"	if reactor.ClassOf(err) == reactor.ClassKeyRefused {\n		err = &notEndableError{err.Error()}\n	}\n	return token.JWT, used.Fingerprint, err\n", []string{ruleEnded, ruleSingle}},
	{"a token is held that does not last", "reactorsession/start.go", "	return left >= needs\n", "	return left >= 0 || needs > 0\n", []string{ruleFresh}},
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
