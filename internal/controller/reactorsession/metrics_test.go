package reactorsession

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// metricsCounter counts what is reported to it.
type metricsCounter struct {
	mu      sync.Mutex
	counts  map[string]int
	running map[v1alpha1.AttemptClass]time.Duration
}

func (c *metricsCounter) AttemptEnded(class v1alpha1.AttemptClass, running time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts["attempt "+string(class)]++
	c.running[class] += running
}

func (c *metricsCounter) CleanedUp(result v1alpha1.CleanupResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts["clean-up "+string(result)]++
}

// counted gives the world an operator that counts.
func (w *world) counted() *metricsCounter {
	counter := &metricsCounter{counts: map[string]int{}, running: map[v1alpha1.AttemptClass]time.Duration{}}
	w.tune = func(options *Options) { options.Metrics = counter }
	return counter
}

func (c *metricsCounter) want(w *world, want map[string]int) {
	w.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := cmp.Diff(want, c.counts); diff != "" {
		w.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestEachAttemptThatEndedIsCountedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		counter := w.counted()
		w.node.runNow(leaves(10*time.Second, 3))
		w.create(newSession("night", policy(v1alpha1.RestartOnFailure)))
		w.start()
		w.pass(time.Hour)
		w.want("night", "Failed=True/BackoffLimitExceeded")
		counter.want(w, map[string]int{"attempt Failed": 4, "clean-up Ended": 4})
		if got, want := counter.running[v1alpha1.ClassFailed], time.Duration(w.session("night").Status.RunningSeconds)*time.Second; got != want || got < 40*time.Second {
			t.Errorf("%s were counted, and status says %s", got, want)
		}

		w.start() // another operator, which counts from what it sees end
		w.pass(time.Hour)
		counter.want(w, map[string]int{"attempt Failed": 4, "clean-up Ended": 4})
	})
}

// The outcome of an attempt is made again after a status write that failed, and is counted with the one that worked.
func TestAnAttemptIsNotCountedBeforeItsOutcomeStandsInStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		counter := w.counted()
		away := atomic.Bool{}
		w.api.MeddleWith(func(made call, do func() error) error {
			if away.Load() && strings.HasPrefix(made.Verb, "update") {
				return fmt.Errorf("status: %w", errAway)
			}
			return do()
		})
		w.node.runNow(runs(time.Minute))
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running")
		away.Store(true)
		w.pass(10 * time.Minute)
		counter.want(w, map[string]int{})
		away.Store(false)
		w.pass(retryCap)
		w.want("night", "Complete=True/Completed")
		counter.want(w, map[string]int{"attempt Succeeded": 1, "clean-up AlreadyOver": 1})
	})
}

func TestAPodThatIsLetGoOfBeforeItEndedCountsAsUnverified(t *testing.T) {
	inWorld(t, func(w *world) {
		counter := w.counted()
		w.create(newSession("night"))
		w.start()
		w.node.be(func(k *kubelet) { k.lost = true })
		w.remove(w.session("night"))
		w.pass(attempts.DeletionBound + 2*time.Minute)
		if !w.gone("night") {
			t.Fatal("the session is still there")
		}
		counter.want(w, map[string]int{"clean-up Unverified": 1})
	})
}
