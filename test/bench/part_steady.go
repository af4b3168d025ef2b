package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

const (
	// promptLabel of a pod names its ReactorToken.
	promptLabel = "bench-token"
	// podsToToken is how many pods mount the Secret of one ReactorToken, as the replicas of a Deployment do.
	podsToToken = 10
	// bucketWidth is over which time mints are counted, in seconds.
	bucketWidth = 10.0
)

// cpuSample is how much CPU time the operator had taken at an instant.
type cpuSample struct {
	at  time.Time
	cpu float64
}

// cpuMeter reads an operator's CPU time every few seconds.
type cpuMeter struct {
	mu      sync.Mutex
	samples []cpuSample
}

func (m *cpuMeter) read(operator *stage.Operator) error {
	used, err := operator.Usage()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples = append(m.samples, cpuSample{time.Now(), used.CPU})
	return err
}

// millicores is the mean between two instants.
func (m *cpuMeter) millicores(from, to time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	inside := slices.DeleteFunc(slices.Clone(m.samples), func(s cpuSample) bool { return s.at.Before(from) || s.at.After(to) })
	if len(inside) < 2 {
		return 0
	}
	first, last := inside[0], inside[len(inside)-1]
	return (last.cpu - first.cpu) / last.at.Sub(first.at).Seconds() * 1000
}

// steady makes n tokens in one burst and waits for some renewals of each: does the crowd drift apart? Then it has pods that get their tokens
// promptly, starts the operator once more with the flag for it, and measures some renewals more.
func (b *bench) steady(ctx context.Context) (err error) {
	s := &system{names: named("token", b.n)}
	role := []string{"-f", "config/components/prompt-delivery/role.yaml", "-f", "config/components/prompt-delivery/role_binding.yaml"}
	if s.Stage, err = b.stage(ctx, stage.Options{Apply: [][]string{role}}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	lifetimes := fmt.Sprintf(`{"default":%q,"ceiling":%q}`, b.granted, b.granted)
	if _, err := stage.Ask(ctx, "PUT", s.Reactor+"/_emulator/lifetimes", lifetimes); err != nil {
		return err
	}
	living := func(token *v1alpha1.ReactorToken) { token.Spec.Lifetime = v1alpha1.DurationOf(b.lifetime) }
	b.say("create %d ReactorTokens that live for %s", b.n, b.granted)
	if err := createTokens(ctx, s.Stage, s.names, living); err != nil {
		return err
	}
	flags := append([]string{b.steadyRate()}, b.operatorFlags...)
	if s.operator, err = s.StartOperator(flags...); err != nil {
		return err
	}
	begin, err := leads(ctx, s)
	if err != nil {
		return err
	}
	if _, err := b.awaitMints(ctx, s, b.n); err != nil {
		return err
	}
	stopWitness := testify(ctx, s.Stage, begin)
	meter := &cpuMeter{}
	without, err := b.cycle(ctx, s, meter, b.cycles, "steady")
	if err != nil {
		return err
	}
	s.stopOperator()
	promptly, err := b.deliverPromptly(ctx, s)
	if err != nil {
		return err
	}
	if s.operator, err = s.StartOperator(append(flags, "--allow-prompt-delivery")...); err != nil {
		return err
	}
	with, err := b.cycle(ctx, s, meter, 1+b.promptCycles, "steady-prompt") // the first one is of those that catch up
	if err != nil {
		return err
	}
	beside, err := stopWitness()
	if err != nil {
		return err
	}
	return b.rowsOfSteady(ctx, s, begin, without, with, meter, beside, promptly)
}

// period is the mean time between two mints of a token: the longest is two thirds of its life, and a tenth of that life is the jitter.
func (b *bench) period() time.Duration { return b.granted*2/3 - b.granted/20 }

// steadyRate is the flag for a third more tokens a second than all of them need on average, as docs/resources.md tells people to set it. The
// default is for tokens that live for hours.
func (b *bench) steadyRate() string {
	return fmt.Sprintf("--mint-qps=%.0f", max(1, math.Round(float64(b.n)/b.period().Seconds()*4/3)))
}

// span is a time that is measured.
type span struct{ from, to time.Time }

// cycle waits for so many renewals of each token, and returns the time of the last one, or of the last two when there are enough.
func (b *bench) cycle(ctx context.Context, s *system, meter *cpuMeter, cycles int, name string) (span, error) {
	begin := time.Now()
	end := begin.Add(time.Duration(cycles) * b.period())
	profiled := noFailure
	told := 0
	tick := time.NewTicker(min(bucketWidth*time.Second, b.period()/10))
	defer tick.Stop()
	for {
		if err := meter.read(s.operator); err != nil {
			return span{}, s.operator.Explain(err)
		}
		passed := int(time.Since(begin) / b.period())
		if passed > told {
			told = passed
			b.say("%d of %d cycles", told, cycles)
			if told == cycles-1 {
				profiled = b.profiles(ctx, s.operator, name)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return span{}, context.Cause(ctx)
		}
		if now := time.Now(); !now.Before(end) {
			return span{end.Add(-time.Duration(max(min(cycles-1, 2), 1)) * b.period()), end}, errors.Join(meter.read(s.operator), profiled())
		}
	}
}

// deliverPromptly makes pods that run, and asks for prompt delivery to them. It returns the names of their tokens.
func (b *bench) deliverPromptly(ctx context.Context, s *system) ([]string, error) {
	nodes, err := startNodes(ctx, s.Stage)
	if err != nil {
		return nil, err
	}
	tokens := s.names[:min(max(b.pods/podsToToken, 1), len(s.names))]
	b.say("make %d pods that run", len(tokens)*podsToToken)
	if err := startPods(ctx, s.Stage, nodes, tokens, podsToToken); err != nil {
		return nil, err
	}
	return tokens, forEach(ctx, creators, tokens, func(ctx context.Context, name string) error {
		patch := fmt.Sprintf(`{"spec":{"promptDelivery":{"podSelector":{"matchLabels":{%q:%q}}}}}`, promptLabel, name)
		return s.Kube.Patch(ctx, newToken(name), client.RawPatch(types.MergePatchType, []byte(patch)))
	})
}

// delivered counts the pods that were told of the token that is in their Secret.
func delivered(ctx context.Context, s *system, tokens []string) (prompted, all int, err error) {
	pods := &corev1.PodList{}
	if err := s.Kube.List(ctx, pods, client.InNamespace(stage.Namespace), client.HasLabels{promptLabel}); err != nil {
		return 0, 0, err
	}
	current := map[string]string{}
	for _, name := range tokens {
		secret := secretMetadata()
		if err := s.Kube.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: name}, secret); err != nil {
			return 0, 0, err
		}
		current[name] = secret.Annotations[v1alpha1.TokenIDAnnotation]
	}
	for i := range pods.Items {
		if pods.Items[i].Annotations[v1alpha1.TokenIDAnnotation] == current[pods.Items[i].Labels[promptLabel]] {
			prompted++
		}
	}
	return prompted, len(pods.Items), nil
}

func (b *bench) rowsOfSteady(
	ctx context.Context, s *system, begin time.Time, without, with span, meter *cpuMeter, beside *witness, tokens []string,
) error {
	seen, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	mints := seen.instants(begin, every)
	prompted, pods, err := delivered(ctx, s, tokens)
	if err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		time span
	}{
		{fmt.Sprintf("after %d cycles of %d tokens that live for %s", b.cycles, b.n, b.granted), without},
		{fmt.Sprintf("the same with prompt delivery to %d pods", pods), with},
	} {
		from, to := phase.time.from.Sub(begin).Seconds(), phase.time.to.Sub(begin).Seconds()
		inside := between(mints, from, to)
		usual := float64(len(inside)) / (to - from) * bucketWidth
		busiest := float64(busiestWindow(inside, bucketWidth))
		b.row(Row{
			Figure:   phase.name + ": mints in the busiest 10 s",
			Operator: fmt.Sprintf("%.0f, and %.0f on average", busiest, usual), Ratio: fmt.Sprintf("%.2f", ratio(busiest, usual)),
			Goal: "≤ 1.5", Verdict: goal(ratio(busiest, usual) <= 1.5),
		})
		b.row(Row{
			Figure:   phase.name + ": the longest that a timer of another process was late, and that a small write took",
			Operator: fmt.Sprintf("%.2f s, %.2f s", beside.timers.within(from, to), beside.writes.within(from, to)), Goal: "printed",
		})
		cpu := meter.millicores(phase.time.from, phase.time.to)
		b.row(Row{Figure: phase.name + ": CPU", Operator: fmt.Sprintf("%.0fm (%.2f ms a mint)", cpu, ratio(cpu*(to-from), float64(len(inside)))), Goal: "printed"})
	}
	b.row(Row{Figure: "pods that had been notified of the token in their Secret, at one moment of it", Operator: fmt.Sprintf("%d of %d", prompted, pods), Goal: "printed"})
	failed := 0
	for _, call := range seen.Calls {
		if call.JTI == "" {
			failed++
		}
	}
	b.row(Row{Figure: "requests to Reactor that failed meanwhile", Operator: fmt.Sprint(failed), Goal: "0", Verdict: count(failed == 0)})
	b.samples("the longest that a timer of another process was late in each 10 s from the burst on", "s", beside.timers.most(bucketWidth))
	b.samples("the longest that a small write took in each 10 s from the burst on", "s", beside.writes.most(bucketWidth))
	b.samples("mints in each 10 s from the burst on", "mints", buckets(mints, 0, quantile(mints, 1), bucketWidth))
	return nil
}
