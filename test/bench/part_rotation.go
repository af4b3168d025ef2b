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
	"github.com/reactor-operator/reactor-operator/test/stage"
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

// rotation replaces the API key of n tokens, and lets the emulator's ledger judge: how much of the rate was used, whether it was exceeded,
// and who went first.
func (b *bench) rotation(ctx context.Context) error {
	s := b.system
	s.stopOperator()
	ctx, cancel := bounded(ctx, b.n*4)
	defer cancel()
	urgent, young := named("urgent", max(b.n/100, 5)), named("young", max(b.n/100, 5))
	if err := b.prepareRotation(ctx, s, urgent); err != nil {
		return err
	}
	flags := append(slices.Clone(b.operatorFlags), fmt.Sprintf("--mint-qps=%d", b.mintQPS))
	parsed, err := config.Parse(append(s.Flags(), flags...), nil)
	if err != nil {
		return err
	}
	if err := b.restartOperator(ctx, s, b.n, flags...); err != nil {
		return err
	}
	before, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	profiled := b.profiles(ctx, s.operator, "rotation")
	begin := time.Now()
	if err := rotate(ctx, s.Stage, "rk_rotated"); err != nil {
		return err
	}
	sharing, err := tokensWithKey(ctx, s.Stage, stage.KeySecret)
	if err != nil {
		return err
	}
	wanted := before.Mints + sharing + len(urgent) + len(young)
	deleted, err := b.disturb(ctx, s, urgent, young)
	if err != nil {
		return err
	}
	after, err := b.awaitMints(ctx, s, wanted)
	if err := errors.Join(err, profiled()); err != nil {
		return err
	}
	after.Calls = after.Calls[len(before.Calls):]
	b.rowsOfRotation(&after, begin, deleted, parsed.MintBurst, sharing, len(urgent)+len(young))
	return nil
}

// prepareRotation makes the tokens whose Secrets are going to be deleted.
func (b *bench) prepareRotation(ctx context.Context, s *system, urgent []string) error {
	const otherKey = "rk_other"
	if _, err := stage.Ask(ctx, "POST", s.Reactor+"/_emulator/keys", `{"key":"`+otherKey+`"}`); err != nil {
		return err
	}
	err := s.Kube.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: otherKeySecret},
		Data:       map[string][]byte{"api-key": []byte(otherKey)},
	})
	if err != nil {
		return err
	}
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
func (b *bench) disturb(ctx context.Context, s *system, urgent, young []string) (time.Time, error) {
	third := keyDebounce + time.Duration(float64(len(s.names))/float64(b.mintQPS)/3*float64(time.Second))
	if err := pause(ctx, third); err != nil {
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
	return deleted, pause(ctx, 2*third)
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

func (b *bench) rowsOfRotation(seen *ledger, begin, deleted time.Time, burst, sharing, others int) {
	all := seen.instants(begin, every)
	rotated, urgent, young := seen.instants(begin, ofModel(model)), seen.instants(begin, ofModel(urgentModel)), seen.instants(begin, ofModel(newModel))
	b.row(Row{Figure: fmt.Sprintf("a rotated key of %d tokens, mints", sharing), Operator: fmt.Sprint(len(all)),
		Goal: fmt.Sprintf("%d: one for each token", sharing+others), Verdict: count(len(rotated) == sharing && len(all) == sharing+others)})
	rate := float64(b.mintQPS)
	used := rateUsed(all, rate, burst)
	b.row(Row{Figure: fmt.Sprintf("share of --mint-qps=%d that was used", b.mintQPS), Operator: fmt.Sprintf("%.1f %%", used*100), Floor: "100 %",
		Goal: "≥ 95 %", Verdict: goal(used >= 0.95)})
	over, busiest := overdraft(all, rate, burst), busiestWindow(all, 1)
	// Requests are sent at the rate and arrive with a jitter: a few milliseconds are a call or two.
	b.row(Row{Figure: "most mints in one second, and beyond the token bucket in any time", Operator: fmt.Sprintf("%d, and %.1f", busiest, max(over, 0)),
		Goal: fmt.Sprintf("≤ %d and a burst of %d, never more", b.mintQPS, burst), Verdict: goal(busiest <= b.mintQPS+burst && over <= rate*arrivalJitter)})
	gone := deleted.Sub(begin).Seconds()
	jumped := overtaken(rotated, urgent, gone+seenAfter.Seconds())
	early := len(between(young, 0, quantile(rotated, 1)))
	b.row(Row{
		Figure:   fmt.Sprintf("order: %d tokens whose Secret was deleted meanwhile, and %d new ones", len(urgent), len(young)),
		Operator: fmt.Sprintf("the last one deleted had its token after %.2f s, %d others went before it; %d new ones went before the last changed key", quantile(urgent, 1)-gone, jumped, early),
		Goal:     "the deleted ones first, then changed keys, then new ones", Verdict: goal(jumped == 0 && early == 0),
	})
	b.samples("mints in each second from the rotation on", "mints", buckets(all, 0, quantile(all, 1)+1, 1))
}

// arrivalJitter is how much earlier than its turn a request may seem to arrive, in seconds: the one before it was held up.
const arrivalJitter = 0.02

// overtaken counts the less urgent calls that came while more urgent ones still waited: after an instant, and before the last urgent one.
func overtaken(less, urgent []float64, after float64) int {
	return len(between(less, after, quantile(urgent, 1)))
}
