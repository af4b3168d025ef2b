// Command measure prints how much memory and processor time the operator takes, as the table in docs/resources.md: on a real control
// plane and the emulator, as a process with its default settings but for rate limits, scraped as often as Prometheus would.
//
// Everything is on one machine and there is no node: pods are made and do not run.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

const (
	patience    = 10 * time.Minute // for each burst
	scrapeEvery = 30 * time.Second // the default of the chart's ServiceMonitor
	foreignData = 10_000           // bytes in each Secret of others
)

func main() {
	m := measurement{}
	pflag.IntSliceVar(&m.tokens, "tokens", []int{1000, 5000}, "how many ReactorTokens there are, one step after the other")
	pflag.IntVar(&m.sessions, "sessions", 500, "how many ReactorSessions with a pod there are then")
	pflag.IntVar(&m.secrets, "secrets", 5000, "how many Secrets of others there are then")
	pflag.DurationVar(&m.rest, "rest", 2*time.Minute, "how long nothing happens after each step")
	pflag.Parse()
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := m.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// measurement is what to measure, and what runs meanwhile.
type measurement struct {
	tokens            []int
	sessions, secrets int
	rest              time.Duration

	*stage.Stage
	operator *stage.Operator
}

func (m *measurement) run(ctx context.Context) (err error) {
	if m.Stage, err = stage.Start(ctx, stage.Options{Log: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()

	fmt.Printf("On %d processors (%s), with a scrape every %s and %s of rest after each step:\n\n", runtime.NumCPU(), runtime.GOARCH, scrapeEvery, m.rest)
	fmt.Println("| what there is | memory after the rest | its peak | CPU time until all of it was done | CPU during the rest |")
	fmt.Println("|---|---|---|---|---|")
	if err := m.restart(ctx, "nothing"); err != nil {
		return err
	}
	defer func() { m.operator.Stop() }()
	if err := m.grow(ctx); err != nil {
		return err
	}
	m.operator.Stop()
	return m.restart(ctx, "the same, after a restart")
}

// grow takes the steps in which there is more and more to do.
func (m *measurement) grow(ctx context.Context) error {
	made := 0
	for _, count := range m.tokens {
		err := m.step(ctx, fmt.Sprintf("%d ReactorTokens", count), func(ctx context.Context) error {
			if err := m.create(ctx, made, count, token); err != nil {
				return err
			}
			made = count
			return m.allReady(ctx)
		})
		if err != nil {
			return err
		}
	}
	if m.sessions > 0 {
		err := m.step(ctx, fmt.Sprintf("and %d ReactorSessions, whose pods wait for a node", m.sessions), func(ctx context.Context) error {
			if err := m.create(ctx, 0, m.sessions, session); err != nil {
				return err
			}
			return m.allHavePods(ctx)
		})
		if err != nil {
			return err
		}
	}
	if m.secrets == 0 {
		return nil
	}
	return m.step(ctx, fmt.Sprintf("and %d Secrets of others, of %d kB each", m.secrets, foreignData/1000), func(ctx context.Context) error {
		return m.create(ctx, 0, m.secrets, foreign)
	})
}

// restart starts the operator, and measures the start as a step. Its rate limits of Reactor are off: they are there for Reactor, and
// spread the same work over more time.
func (m *measurement) restart(ctx context.Context, name string) (err error) {
	m.operator, err = m.StartOperator("--mint-qps=10000", "--mint-burst=10000", "--sessions-per-key=0", "--session-starts-per-minute=0")
	if err != nil {
		return err
	}
	return m.measure(ctx, name, stage.Usage{}, func(ctx context.Context) error {
		if err := m.operator.AwaitReady(ctx); err != nil {
			return err
		}
		return m.allSeen(ctx)
	})
}

// step measures something that the running operator has to do.
func (m *measurement) step(ctx context.Context, name string, do func(context.Context) error) error {
	if err := m.operator.ForgetPeak(); err != nil {
		return err
	}
	before, err := m.operator.Usage()
	if err != nil {
		return err
	}
	return m.measure(ctx, name, before, do)
}

// measure prints what something cost, and what the rest after it did.
func (m *measurement) measure(ctx context.Context, name string, before stage.Usage, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return m.operator.Explain(fmt.Errorf("%s: %w", name, err))
	}
	done, err := m.operator.Usage()
	if err != nil {
		return err
	}
	scraping, stop := context.WithCancel(ctx)
	defer stop()
	go wait.UntilWithContext(scraping, m.scrape, scrapeEvery)
	if err := stage.Pause(ctx, m.rest); err != nil {
		return err
	}
	after, err := m.operator.Usage()
	if err != nil {
		return err
	}
	const mebi, milli = 1 << 20, 1000
	fmt.Printf("| %s | %d MiB | %d MiB | %.1f s | %.0fm |\n", name, after.Resident/mebi, after.Peak/mebi,
		done.CPU-before.CPU, (after.CPU-done.CPU)/m.rest.Seconds()*milli)
	return nil
}

// scrape reads the metrics, as Prometheus does. One that fails says so, since the figures are too low then.
func (m *measurement) scrape(ctx context.Context) {
	if _, err := stage.Get(ctx, m.operator.Metrics); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "a scrape failed:", err)
	}
}

// create creates objects from one number up to another.
func (m *measurement) create(ctx context.Context, from, to int, object func(i int) client.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := from; i < to; i++ {
		group.Go(func() error { return m.Kube.Create(ctx, object(i)) })
	}
	return group.Wait()
}

func token(i int) client.Object {
	return &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: fmt.Sprintf("token-%d", i)},
		Spec: v1alpha1.ReactorTokenSpec{
			APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: stage.KeySecret},
			Scope:           &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"reactor/helios"}, MaxSessions: 1},
		},
	}
}

func session(i int) client.Object {
	return &v1alpha1.ReactorSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: fmt.Sprintf("session-%d", i)},
		Spec: v1alpha1.ReactorSessionSpec{
			Model: "reactor/helios", APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: stage.KeySecret}, StartDeadline: "6h",
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "stream", Image: "example.com/stream"}}}},
		},
	}
}

func foreign(i int) client.Object {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: fmt.Sprintf("foreign-%d", i)},
		Data:       map[string][]byte{"data": make([]byte, foreignData)},
	}
}

// allReady waits until every ReactorToken is Ready.
func (m *measurement) allReady(ctx context.Context) error {
	return stage.Poll(ctx, patience, func(ctx context.Context) (bool, error) {
		tokens := v1alpha1.ReactorTokenList{}
		err := m.Kube.List(ctx, &tokens)
		return !slices.ContainsFunc(tokens.Items, func(token v1alpha1.ReactorToken) bool {
			return !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
		}), err
	})
}

// allHavePods waits until the operator has made a pod for each session.
func (m *measurement) allHavePods(ctx context.Context) error {
	return stage.Poll(ctx, patience, func(ctx context.Context) (bool, error) {
		pods := corev1.PodList{}
		err := m.Kube.List(ctx, &pods)
		return len(pods.Items) >= m.sessions, err
	})
}

// allSeen waits until the operator that has just started has looked at all objects.
func (m *measurement) allSeen(ctx context.Context) error {
	count := 0
	for _, kind := range []client.ObjectList{&v1alpha1.ReactorTokenList{}, &v1alpha1.ReactorSessionList{}} {
		if err := m.Kube.List(ctx, kind); err != nil {
			return err
		}
		count += meta.LenList(kind)
	}
	return m.operator.AllSeen(ctx, count, patience)
}
