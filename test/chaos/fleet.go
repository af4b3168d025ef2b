package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// tokenPrefix begins the names of the ReactorTokens that readers read, and of their Secrets.
const tokenPrefix = "token-"

// makeTokens creates the ReactorTokens, over so long a time that the first is due for renewal when the last is there: from then on there
// is always something to renew. Each has a model of its own, by which the ledger tells them apart.
func (w *world) makeTokens(ctx context.Context) error {
	spread := earliestRenewal(w.settings.lifetime)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range w.settings.tokens {
		if err := stage.Pause(ctx, time.Until(began.Add(spread*time.Duration(i)/time.Duration(w.settings.tokens)))); err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			name := fmt.Sprintf("%s%05d", tokenPrefix, i)
			return w.kube.Create(ctx, &v1alpha1.ReactorToken{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec: v1alpha1.ReactorTokenSpec{
					APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: keySecret(i)},
					Lifetime:        v1alpha1.Duration(w.settings.lifetime.String()),
					Scope:           &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{v1alpha1.ModelName(modelOf(name))}, MaxSessions: 1},
				},
			})
		})
	}
	return group.Wait()
}

// fate is what becomes of a session.
type fate struct {
	args    []string      // of its program
	retries int32         // after failures
	deleted time.Duration // how long after its creation somebody deletes it; 0 for never
}

// drawFate draws what becomes of a session: most end by themselves, some leave their Reactor session open, some fail and are tried again,
// some are deleted while they run.
func drawFate(dice *rand.Rand) fate {
	hold := fmt.Sprintf("--hold=%ds", 60+dice.IntN(180))
	switch pick := dice.IntN(20); {
	case pick < 3:
		return fate{args: []string{hold, "--abandon"}}
	case pick < 6:
		return fate{args: []string{fmt.Sprintf("--hold=%ds", 30+dice.IntN(60)), "--exit=1"}, retries: 1}
	case pick < 10:
		return fate{args: []string{"--hold=1h"}, deleted: time.Duration(30+dice.IntN(150)) * time.Second}
	default:
		return fate{args: []string{hold}}
	}
}

// modelOf is the model of a ReactorSession, or a ReactorToken.
func modelOf(name string) string { return "chaos/" + name }

// sessionOf builds a ReactorSession, whose program calls Reactor directly. Each has a model of its own, by which the ledger tells whose a
// Reactor session is.
func sessionOf(number int, reactor controlEndpoint, what fate) *v1alpha1.ReactorSession {
	name := fmt.Sprintf("session-%05d", number)
	grace := int64(30)
	return &v1alpha1.ReactorSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ReactorSessionSpec{
			Model:            v1alpha1.ModelName(modelOf(name)),
			APIKeySecretRef:  v1alpha1.APIKeySecretReference{Name: keySecret(number)},
			RestartPolicy:    v1alpha1.RestartOnFailure,
			BackoffLimit:     &what.retries,
			MaxDuration:      "10m",
			TTLAfterFinished: "1m",
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				TerminationGracePeriodSeconds: &grace,
				Containers:                    []corev1.Container{{Name: "worker", Image: workerImage, Args: append([]string{"--api=" + string(reactor)}, what.args...)}},
			}},
		},
	}
}

// fleet keeps sessions in flight.
type fleet struct {
	kube    client.WithWatch
	reactor controlEndpoint
	wanted  int
	dice    *rand.Rand
	fates   map[string]fate
	made    int
	over    atomic.Bool
	kept    chan struct{} // is closed when nothing is created any more
}

func newFleet(kube client.WithWatch, reactor controlEndpoint, s settings) *fleet {
	dice := rand.New(rand.NewPCG(s.seed, 1)) //nolint:gosec // the same from the same seed, on purpose
	return &fleet{kube: kube, reactor: reactor, wanted: s.sessions, dice: dice, fates: map[string]fate{}, kept: make(chan struct{})}
}

// keep looks every two seconds how many sessions are in flight, creates what is missing, and deletes those whose fate that is. While
// Kubernetes is away it does nothing, as the people whom it stands for.
func (f *fleet) keep(ctx context.Context) {
	for stage.Pause(ctx, 2*time.Second) == nil && !f.over.Load() {
		f.tend(ctx)
	}
	close(f.kept)
}

func (f *fleet) tend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	sessions := v1alpha1.ReactorSessionList{}
	if err := f.kube.List(ctx, &sessions, client.InNamespace(namespace)); err != nil {
		return
	}
	inFlight := 0
	for i := range sessions.Items {
		s := &sessions.Items[i]
		switch deleted := f.fates[s.Name].deleted; {
		case isOver(s):
		case deleted > 0 && time.Since(s.CreationTimestamp.Time) > deleted:
			_ = f.kube.Delete(ctx, s) // the next look finds it again
		default:
			inFlight++
		}
	}
	for ; inFlight < f.wanted; inFlight++ {
		what := drawFate(f.dice)
		f.made++
		made := sessionOf(f.made, f.reactor, what)
		f.fates[made.Name] = what
		if err := f.kube.Create(ctx, made); err != nil {
			return // the number is lost, and the next look makes another
		}
	}
}

// isOver tells whether a session starts nothing any more.
func isOver(s *v1alpha1.ReactorSession) bool {
	if s.DeletionTimestamp != nil {
		return true
	}
	for _, condition := range s.Status.Conditions {
		over := condition.Type == v1alpha1.ConditionComplete || condition.Type == v1alpha1.ConditionFailed
		if over && condition.Status == metav1.ConditionTrue {
			return true
		}
	}
	return false
}

// awaitRunning waits until most of the wanted sessions run at Reactor: some are always between two.
func (f *fleet) awaitRunning(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, time.Second, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		read, err := f.reactor.ledger(ctx)
		return len(read.open()) >= f.wanted*8/10, err
	})
	if err != nil {
		return fmt.Errorf("fewer than eight of ten sessions run: %w", err)
	}
	return nil
}

// end deletes all sessions, and waits until they are gone, which they are when their Reactor sessions have been seen to. It returns how
// many are not.
func (f *fleet) end(ctx context.Context) (left int, err error) {
	f.over.Store(true)
	select {
	case <-f.kept:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	err = wait.PollUntilContextTimeout(ctx, time.Second, settleTimeout, true, func(ctx context.Context) (bool, error) {
		sessions := v1alpha1.ReactorSessionList{}
		deleting := f.kube.DeleteAllOf(ctx, &v1alpha1.ReactorSession{}, client.InNamespace(namespace))
		listing := f.kube.List(ctx, &sessions, client.InNamespace(namespace))
		left = len(sessions.Items)
		return errors.Join(deleting, listing) == nil && left == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return left, nil
	}
	return 0, err
}
