package metrics

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// answer is what a scripted Minter says.
type answer struct {
	token reactor.Token
	err   error
}

type answers []answer

// scriptedMinter gives its answers in turn, and each takes the same time.
type scriptedMinter struct {
	answers answers
	clock   *clocktesting.FakePassiveClock
	takes   time.Duration
}

func (m *scriptedMinter) Mint(context.Context, reactor.MintRequest) (reactor.Token, error) {
	next := m.answers[0]
	m.answers = m.answers[1:]
	m.clock.SetTime(m.clock.Now().Add(m.takes))
	return next.token, next.err
}

func newInstrumented(t *testing.T, registry prometheus.Registerer, script answers, takes time.Duration) (Minter, *scriptedMinter) {
	t.Helper()
	next := &scriptedMinter{answers: script, clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0)), takes: takes}
	minter, err := InstrumentMinter(next, clock.PassiveClock(next.clock), registry)
	if err != nil {
		t.Fatal(err)
	}
	return minter, next
}

func mint(t *testing.T, minter Minter) (reactor.Token, error) {
	t.Helper()
	return minter.Mint(t.Context(), reactor.MintRequest{APIKey: "rk_test", Lifetime: time.Hour})
}

func failure(class reactor.Class) error {
	return fmt.Errorf("minting: %w", &reactor.Error{Class: class})
}

func TestMintCallsAreCountedByWhoseMatterTheAnswerIs(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	script := answers{
		{}, {},
		{err: failure(reactor.ClassKeyRefused)},
		{err: failure(reactor.ClassKeyLimited)},
		{err: failure(reactor.ClassRequestRefused)},
		{err: failure(reactor.ClassUnavailable)},
		{err: errors.New("of unknown origin")},
	}
	minter, _ := newInstrumented(t, registry, script, 300*time.Millisecond)
	for _, want := range script {
		if _, err := mint(t, minter); !errors.Is(err, want.err) {
			t.Errorf("got %v, want the error unchanged: %v", err, want.err)
		}
	}
	compare(t, registry, `
# HELP reactor_mint_requests_total Requests for a token, by whose matter the answer is: success; key_refused (401); rate_limited (429); request_refused (another 4xx with an error of Reactor's); unavailable (5xx, 408, a redirect, a 4xx that is not proven to be Reactor's, or no usable answer).
# TYPE reactor_mint_requests_total counter
reactor_mint_requests_total{code_class="key_refused"} 1
reactor_mint_requests_total{code_class="rate_limited"} 1
reactor_mint_requests_total{code_class="request_refused"} 1
reactor_mint_requests_total{code_class="success"} 2
reactor_mint_requests_total{code_class="unavailable"} 2
# HELP reactor_mint_duration_seconds How long requests for a token took, whatever the answer.
# TYPE reactor_mint_duration_seconds histogram
reactor_mint_duration_seconds_bucket{le="0.05"} 0
reactor_mint_duration_seconds_bucket{le="0.1"} 0
reactor_mint_duration_seconds_bucket{le="0.25"} 0
reactor_mint_duration_seconds_bucket{le="0.5"} 7
reactor_mint_duration_seconds_bucket{le="1"} 7
reactor_mint_duration_seconds_bucket{le="2.5"} 7
reactor_mint_duration_seconds_bucket{le="5"} 7
reactor_mint_duration_seconds_bucket{le="10"} 7
reactor_mint_duration_seconds_bucket{le="15"} 7
reactor_mint_duration_seconds_bucket{le="+Inf"} 7
reactor_mint_duration_seconds_sum 2.1
reactor_mint_duration_seconds_count 7
`, "reactor_mint_requests_total", "reactor_mint_duration_seconds")
}

func TestEveryClassHasASeriesBeforeTheFirstCall(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	newInstrumented(t, registry, nil, 0)
	if got, err := testutil.GatherAndCount(registry, "reactor_mint_requests_total"); got != 5 || err != nil {
		t.Errorf("%d series, want 5: %v", got, err)
	}
	compare(t, registry, "", "reactor_clock_skew_seconds")
}

func TestClockSkewIsThatOfTheLastToken(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	minter, _ := newInstrumented(t, registry, answers{
		{token: reactor.Token{JWT: "first", Skew: time.Minute}},
		{token: reactor.Token{JWT: "second", Skew: -1500 * time.Millisecond}},
		{err: failure(reactor.ClassUnavailable)},
	}, 0)
	for range 3 {
		_, _ = mint(t, minter)
	}
	compare(t, registry, `
# HELP reactor_clock_skew_seconds How far Reactor's clock was ahead of the operator's when the last token was issued; negative if behind.
# TYPE reactor_clock_skew_seconds gauge
reactor_clock_skew_seconds -1.5
`, "reactor_clock_skew_seconds")
}

func TestTheTokenIsPassedOn(t *testing.T) {
	want := reactor.Token{JWT: "a.b.c", ExpiresAt: time.Unix(5000, 0)}
	minter, _ := newInstrumented(t, prometheus.NewPedanticRegistry(), answers{{token: want}}, 0)
	if got, err := mint(t, minter); got != want || err != nil {
		t.Errorf("got %v and %v", got, err)
	}
}

func TestASecondMinterInOneRegistryIsAnError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	_, next := newInstrumented(t, registry, nil, 0)
	if _, err := InstrumentMinter(next, next.clock, registry); err == nil {
		t.Error("no error")
	}
}

func TestBuildInfo(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewBuildCollector("v1.2.3"))
	compare(t, registry, `
# HELP reactor_operator_build_info Which build of the operator this is, as labels of a constant 1.
# TYPE reactor_operator_build_info gauge
reactor_operator_build_info{go_version="`+runtime.Version()+`",revision="`+revision()+`",version="v1.2.3"} 1
`, "reactor_operator_build_info")
}

func TestTheReplicaThatIsElectedLeads(t *testing.T) {
	for want, elected := range map[string]<-chan struct{}{"0": make(chan struct{}), "1": leading()} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(NewLeaderCollector(elected))
		compare(t, registry, `
# HELP reactor_operator_leader 1 in the replica that leads, 0 in the others.
# TYPE reactor_operator_leader gauge
reactor_operator_leader `+want+"\n", "reactor_operator_leader")
	}
}

func compare(t *testing.T, registry prometheus.Gatherer, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}
