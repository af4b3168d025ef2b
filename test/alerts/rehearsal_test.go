package alerts

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// haste is by what the durations of the rules are divided: a minute is a second here. Lives of tokens are not, and a minute is the
// shortest.
const haste = 60

// rehearsal is a world that a Prometheus watches.
type rehearsal struct {
	*world
	prometheus *server
	began      time.Time
}

// An outage of Reactor, a key that is revoked, a clock that is wrong, a session whose end was not observed, one that waits for a user, an
// operator that is away: a real Prometheus scrapes two real replicas of the operator, with the rules and the dashboard of
// config/prometheus.
func TestARehearsedOutage(t *testing.T) {
	program(t, "prometheus") // or there is nothing to be done
	r := &rehearsal{world: newWorld(t), began: time.Now()}
	first, second := freeAddress(t), freeAddress(t)
	r.prometheus = startPrometheus(t, r.scraper(), readRules(t).hastened(t, haste), first, second)
	replicas := map[string]*process.Process{first: r.replica("first", first), second: r.replica("second", second)}
	r.putKey(keySecret, r.key)
	web := r.token("web")
	r.patch(r.token("paused"), `{"spec":{"suspend":true}}`)
	r.wait(t, "both replicas to be scraped", `count(reactor_operator_leader) == 2 and sum(reactor_operator_leader) == 1`)
	r.wait(t, "the tokens", `sum(reactor_tokens{ready="true"}) == 2`)

	r.session("night", keySecret)
	r.session("unready", "other-key")
	r.runs("night")
	r.wait(t, "a session that runs", `reactor_sessions{reason="Running"}`)
	r.ends("night")
	r.wantFiring(t, "ReactorSessionCleanupUnverified", "")
	r.wantFiring(t, "ReactorSessionStalled", "unready")
	r.putKey("other-key", newKey())
	r.wantSilent(t, "ReactorSessionStalled")

	r.reactor.SetFaults(emulator.Fault{Status: http.StatusServiceUnavailable})
	r.wantFiring(t, "ReactorTokenExpiresSoon", "web")
	expires := r.expiration(web)
	r.wantFiring(t, "ReactorUnavailable", "")
	r.wantFiring(t, "ReactorTokenExpired", "web")
	told := r.value(t, `min_over_time(timestamp(ALERTS{alertname="ReactorTokenExpiresSoon", alertstate="firing", name="web"})[10m:1s])`)
	if before := expires.Sub(time.Unix(int64(told), 0)); before <= 0 {
		t.Errorf("the warning came %s after the token had expired", -before)
	} else {
		t.Logf("the warning came %s before the token expired", before)
	}
	r.reactor.ClearFaults()
	for _, alert := range []string{"ReactorTokenExpired", "ReactorTokenExpiresSoon", "ReactorUnavailable"} {
		r.wantSilent(t, alert)
	}

	r.reactor.RevokeKey(r.key)
	r.renew("web", "with a key that was revoked")
	r.wantFiring(t, "ReactorAPIKeyFailing", "")
	leader := r.leader(t)
	replicas[leader].Stop() // the other one takes over, and says the same
	r.wait(t, "ReactorAPIKeyFailing to fire by the other replica", fmt.Sprintf(
		`ALERTS{alertname="ReactorAPIKeyFailing", alertstate="firing"} and on (namespace) reactor_token_not_renewed{instance!=%q}`, leader))
	replicas[leader] = r.replica("third", leader)
	r.key = newKey()
	r.reactor.AddKey(r.key)
	r.putKey(keySecret, r.key)
	r.wantSilent(t, "ReactorAPIKeyFailing")

	r.reactor.SetDateSkew(time.Minute)
	r.renew("web", "with a clock that is wrong")
	r.wantFiring(t, "ReactorClockSkew", "")
	r.reactor.SetDateSkew(0)
	r.renew("web", "with a clock that is right")
	r.wantSilent(t, "ReactorClockSkew")

	for _, replica := range replicas {
		replica.Stop()
	}
	r.wantFiring(t, "ReactorOperatorAbsent", "")
	r.replica("fourth", first)
	r.wantSilent(t, "ReactorOperatorAbsent")
	r.wantSilent(t, "ReactorSessionCleanupUnverified")

	r.wantOnce(t)
	r.wantData(t)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// wait waits until an expression has a value.
func (r *rehearsal) wait(t *testing.T, what, expr string) {
	t.Helper()
	expect.Eventually(t, what, func() error {
		found, err := r.prometheus.query(t.Context(), expr)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%s has no value", expr)
		}
		return err
	})
}

// value is that of an expression with one.
func (r *rehearsal) value(t *testing.T, expr string) float64 {
	t.Helper()
	found, err := r.prometheus.query(t.Context(), expr)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", expr, found, err)
	}
	return found[0].value
}

// leader is where the replica that leads serves its metrics.
func (r *rehearsal) leader(t *testing.T) string {
	t.Helper()
	found, err := r.prometheus.query(t.Context(), "reactor_operator_leader == 1")
	if err != nil || len(found) != 1 {
		t.Fatalf("the leaders are %v: %v", found, err)
	}
	return found[0].labels["instance"]
}

// wantFiring waits until an alert fires, for the object of that name.
func (r *rehearsal) wantFiring(t *testing.T, alert, name string) {
	t.Helper()
	r.wait(t, alert+" to fire", fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing", name=%q}`, alert, name))
}

// wantSilent waits until an alert does not fire any more.
func (r *rehearsal) wantSilent(t *testing.T, alert string) {
	t.Helper()
	r.wait(t, alert+" to resolve", fmt.Sprintf(`absent(ALERTS{alertname=%q, alertstate="firing"})`, alert))
}

// wantOnce checks that each alert has fired, no object is in two alerts at the same time, and no alert names an object that is healthy.
func (r *rehearsal) wantOnce(t *testing.T) {
	t.Helper()
	const most = `max_over_time(count by (alertname, namespace, name) (ALERTS{alertstate="firing"})[15m:1s])`
	found, err := r.prometheus.query(t.Context(), most)
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]float64{
		"ReactorTokenExpiresSoon/studio/web":   1,
		"ReactorTokenExpired/studio/web":       1,
		"ReactorAPIKeyFailing/studio/":         1,
		"ReactorUnavailable//":                 1,
		"ReactorClockSkew//":                   1,
		"ReactorSessionStalled/studio/unready": 1,
		"ReactorSessionCleanupUnverified//":    1,
		"ReactorOperatorAbsent//":              1,
	}, map[string]float64{}
	for _, series := range found {
		got[strings.Join([]string{series.labels["alertname"], series.labels["namespace"], series.labels["name"]}, "/")] = series.value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how many alerts fired at the same time for one object (-want +got):\n%s", diff)
	}
	for _, alert := range readRules(t).names() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(key string) bool { return strings.HasPrefix(key, alert+"/") }) {
			t.Errorf("%s is not rehearsed", alert)
		}
	}
}

// wantData checks that each panel of the dashboard had something to show.
func (r *rehearsal) wantData(t *testing.T) {
	t.Helper()
	// What is shown where there is nothing does not count.
	variables := strings.NewReplacer("$__rate_interval", "5s", "$__range", "5m", " or vector(0)", "")
	for _, panel := range readPanels(t) {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			found, err := r.prometheus.queryRange(t.Context(), variables.Replace(target.Expr), r.began, time.Now())
			if err != nil || len(found) == 0 {
				t.Errorf("the panel %q shows nothing: %s: %v", panel.Title, target.Expr, err)
			}
			t.Logf("%-50s %d series", panel.Title, len(found))
		}
	}
}
