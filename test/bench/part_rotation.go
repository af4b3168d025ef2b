package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// Tokens that show the order of urgency beside the rotated key. They have a key of their own, which is not rotated.
const (
	otherKeySecret = "reactor-other"
	urgentModel    = "bench/urgent" // their Secret is deleted while the line is long: pods are without a token
	newModel       = "bench/new"    // they are created at the same time: nobody relies on them yet
)

// seenAfter is how long an operator may take to see a deletion, and to read what it needs to know about it.
const seenAfter = time.Second

// keyDebounce is how long the operator waits after a key was edited.
const keyDebounce = time.Second

// rotation replaces the API key of n tokens, once for each rate, and lets the emulator's ledger judge: how much of the rate was used, whether
// it was exceeded, and who went first. What a machine can do at the most is what a floor renews in a second.
func (b *bench) rotation(ctx context.Context) error {
	s := b.system
	s.stopOperator()
	ctx, cancel := bounded(ctx, b.n*4*len(b.mintRates))
	defer cancel()
	if err := b.makeOtherKey(ctx, s); err != nil {
		return err
	}
	var runs []*rotationRun
	for _, rate := range b.mintRates {
		run, err := b.rotateAt(ctx, s, rate)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	limit, err := b.renewalsOfFloor(ctx, s) // at the end: an operator would put right what it writes
	if err != nil {
		return err
	}
	for _, run := range runs {
		b.rowsOfRotation(run, limit)
	}
	return nil
}

// renewalsOfFloor is how many tokens a second a floor renews.
func (b *bench) renewalsOfFloor(ctx context.Context, s *system) (float64, error) {
	f, err := newFloor(ctx, s.Stage, b.writes, append(slices.Clone(withoutMintRate), b.operatorFlags...)...)
	if err != nil {
		return 0, err
	}
	defer f.stop()
	f.renews = true
	some := s.names[:min(len(s.names), floorRenewals)]
	began := time.Now()
	err = f.passes(ctx, some)
	return float64(len(some)) / time.Since(began).Seconds(), err
}

// floorRenewals is how many renewals of a floor are enough to tell their rate.
const floorRenewals = 2000

// rotateAt replaces the key under a limit of so many mints a second.
func (b *bench) rotateAt(ctx context.Context, s *system, qps int) (*rotationRun, error) {
	urgent, young := named(fmt.Sprintf("urgent-%d", qps), max(b.n/100, 5)), named(fmt.Sprintf("young-%d", qps), max(b.n/100, 5))
	if err := b.makeUrgent(ctx, s, urgent); err != nil {
		return nil, err
	}
	flags := append(slices.Clone(b.operatorFlags), fmt.Sprintf("--mint-qps=%d", qps))
	parsed, err := config.Parse(append(s.Flags(), flags...), nil)
	if err != nil {
		return nil, err
	}
	if err := b.restartOperator(ctx, s, b.n, flags...); err != nil {
		return nil, err
	}
	defer s.stopOperator()
	before, err := readLedger(ctx, s.Stage)
	if err != nil {
		return nil, err
	}
	profiled := b.profiles(ctx, s.operator, fmt.Sprintf("rotation-%d", qps))
	begin := time.Now()
	if err := rotate(ctx, s.Stage, fmt.Sprintf("rk_rotated_%d", qps)); err != nil {
		return nil, err
	}
	sharing, err := tokensWithKey(ctx, s.Stage, stage.KeySecret)
	if err != nil {
		return nil, err
	}
	wanted := before.Mints + sharing + len(urgent) + len(young)
	deleted, err := b.disturb(ctx, s, qps, urgent, young)
	if err != nil {
		return nil, err
	}
	after, err := b.awaitMints(ctx, s, wanted)
	if err := errors.Join(err, profiled()); err != nil {
		return nil, err
	}
	after.Calls = after.Calls[len(before.Calls):]
	return &rotationRun{&after, begin, deleted, qps, parsed.MintBurst, parsed.Concurrency, sharing, len(urgent), len(young)}, nil
}

// makeOtherKey makes the key of the tokens that show the order of urgency.
func (b *bench) makeOtherKey(ctx context.Context, s *system) error {
	const otherKey = "rk_other"
	if _, err := stage.Ask(ctx, "POST", s.Reactor+"/_emulator/keys", `{"key":"`+otherKey+`"}`); err != nil {
		return err
	}
	return s.Kube.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: otherKeySecret},
		Data:       map[string][]byte{"api-key": []byte(otherKey)},
	})
}

// makeUrgent makes the tokens whose Secrets are going to be deleted.
func (b *bench) makeUrgent(ctx context.Context, s *system, urgent []string) error {
	before, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	if err := createTokens(ctx, s.Stage, urgent, withOtherKey(urgentModel)); err != nil {
		return err
	}
	if err := b.restartOperator(ctx, s, b.n+len(urgent), withoutMintRate...); err != nil {
		return err
	}
	defer s.stopOperator()
	_, err = b.awaitMints(ctx, s, before.Mints+len(urgent))
	return err
}

func withOtherKey(model v1alpha1.ModelName) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) {
		token.Spec.APIKeySecretRef.Name = otherKeySecret
		token.Spec.Scope.Models = []v1alpha1.ModelName{model}
	}
}

// rotate makes a new key known to Reactor, and puts it in place of the one that all tokens share.
func rotate(ctx context.Context, s *stage.Stage, key string) error {
	if _, err := stage.Ask(ctx, "POST", s.Reactor+"/_emulator/keys", `{"key":"`+key+`"}`); err != nil {
		return err
	}
	secret := &corev1.Secret{}
	if err := s.Kube.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: stage.KeySecret}, secret); err != nil {
		return err
	}
	secret.Data["api-key"] = []byte(key)
	return s.Kube.Update(ctx, secret)
}

// disturb waits until about a third of the tokens is minted, and then deletes the Secrets of the urgent ones and creates new ones. It
// returns when the last Secret was deleted. Nobody is asked meanwhile how far it is: the ledger of so many calls is long.
func (b *bench) disturb(ctx context.Context, s *system, qps int, urgent, young []string) (time.Time, error) {
	third := keyDebounce + time.Duration(float64(len(s.names))/float64(qps)/3*float64(time.Second))
	if err := stage.Pause(ctx, third); err != nil {
		return time.Time{}, err
	}
	err := forEach(ctx, creators, urgent, func(ctx context.Context, name string) error {
		return s.Kube.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name}})
	})
	deleted := time.Now()
	if err != nil {
		return deleted, err
	}
	if err := createTokens(ctx, s.Stage, young, withOtherKey(newModel)); err != nil {
		return deleted, err
	}
	return deleted, stage.Pause(ctx, 2*third)
}

// tokensWithKey counts the ReactorTokens that share a key.
func tokensWithKey(ctx context.Context, s *stage.Stage, secret string) (int, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	err := s.Kube.List(ctx, tokens, client.InNamespace(stage.Namespace))
	count := 0
	for i := range tokens.Items {
		if tokens.Items[i].Spec.APIKeySecretRef.Name == secret {
			count++
		}
	}
	return count, err
}

// rotationRun is what was seen of one rotation.
type rotationRun struct {
	seen                   *ledger
	begin, deleted         time.Time
	qps, burst, workers    int
	sharing, urgent, young int
}

// rowsOfRotation judges a run. The limit is how many tokens a second a floor renews.
func (b *bench) rowsOfRotation(run *rotationRun, limit float64) {
	all := run.seen.instants(run.begin, every)
	of := func(model string) []float64 { return run.seen.instants(run.begin, ofModel(model)) }
	rotated, urgent, young := of(model), of(urgentModel), of(newModel)
	at, rate := fmt.Sprintf("with --mint-qps=%d, ", run.qps), float64(run.qps)
	wanted := run.sharing + run.urgent + run.young
	b.row(Row{Figure: fmt.Sprintf("%sa rotated key of %d tokens: mints", at, run.sharing), Operator: fmt.Sprint(len(all)),
		Goal: fmt.Sprintf("%d: one for each token", wanted), Verdict: count(len(rotated) == run.sharing && len(all) == wanted)})
	used := rateUsed(all, rate, run.burst)
	b.row(Row{
		Figure:   at + "share of the rate that was used",
		Operator: fmt.Sprintf("%.1f %%: %.0f a second", used*100, used*rate),
		Floor:    fmt.Sprintf("renews %.0f a second, without a rate", limit), Goal: "≥ 95 %", Verdict: goal(used >= 0.95),
	})
	over, busiest := overdraft(all, rate, run.burst), busiestWindow(all, 1)
	b.row(Row{Figure: at + "most mints in one second, and beyond the token bucket in any time", Operator: fmt.Sprintf("%d, and %.1f", busiest, max(over, 0)),
		Goal: fmt.Sprintf("≤ %d and a burst of %d, never more (but for %.0f, which arrive up to %.1f s early)", run.qps, run.burst, rate*arrivalJitter, arrivalJitter), Verdict: goal(busiest <= run.qps+run.burst && over <= rate*arrivalJitter)})
	gone := run.deleted.Sub(run.begin).Seconds()
	jumped := overtaken(rotated, urgent, gone+seenAfter.Seconds())
	early := len(between(young, 0, quantile(rotated, 1)))
	b.row(Row{
		Figure:   fmt.Sprintf("%sorder: %d tokens whose Secret was deleted meanwhile, and %d new ones", at, run.urgent, run.young),
		Operator: fmt.Sprintf("the last one deleted had its token after %.2f s, %d others went before it; %d new ones went before the last changed key", quantile(urgent, 1)-gone, jumped, early),
		Goal:     fmt.Sprintf("the deleted ones first, then changed keys, then new ones, but for the %d that are worked on at one time, and from %s after the deletion on", run.workers, seenAfter),
		Verdict:  goal(jumped <= run.workers && early <= run.workers),
	})
	b.samples(at+"mints in each second from the rotation on", "mints", buckets(all, 0, quantile(all, 1)+1, 1))
}

// arrivalJitter is how much earlier than its turn a request may seem to arrive, in seconds: those before it were held up. Between a turn and
// the request the key may be read, from an API server that may be busy.
const arrivalJitter = 0.1

// overtaken counts the less urgent calls that came while more urgent ones still waited: after an instant, and before the last urgent one.
func overtaken(less, urgent []float64, after float64) int {
	return len(between(less, after, quantile(urgent, 1)))
}
