package reactortoken

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
)

// The operator starts with 50,000 ReactorTokens, and renewals come due as fast as the workers that they may have take them. This is
// the queue of controller-runtime with the priorities of this package, in virtual time. It measures how long a new ReactorToken waits,
// and how long those of the lowest priority do.
func TestNeitherANewTokenNorTheLowestPriorityStarves(t *testing.T) {
	if testing.Short() {
		t.Skip("it has 50,000 objects: make test runs it")
	}
	synctest.Test(t, func(t *testing.T) {
		const (
			burst   = 50_000
			workers = 8 // the default of --concurrency
			read    = 20 * time.Millisecond
			renewal = 100 * time.Millisecond
			never   = time.Duration(-1)
		)
		queue := priorityqueue.New[reconcile.Request]("test")
		named := func(kind string, number int) reconcile.Request {
			return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: kind, Name: fmt.Sprint(number)}}
		}
		for i := range burst {
			queue.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, named("crowd", i))
		}
		began := time.Now()
		waited, worst := 0, map[string]time.Duration{"new": never, "crowd": never}
		added := map[reconcile.Request]time.Time{}
		var mu sync.Mutex
		give := func(request reconcile.Request, priority int) {
			mu.Lock()
			added[request] = time.Now()
			mu.Unlock()
			queue.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		}
		for i := range mintqueue.SlotsFor(workers) { // a slot that is released is given to the next renewal immediately
			give(named("renewal", i), mintqueue.RequeueSlot)
		}
		var running sync.WaitGroup
		for range workers {
			running.Go(func() {
				for {
					request, _, over := queue.GetWithPriority()
					if over {
						return
					}
					mu.Lock()
					since, ok := added[request]
					if !ok {
						since = began
					}
					if kind := request.Namespace; kind != "renewal" {
						worst[kind] = max(worst[kind], time.Since(since))
						waited++
					}
					mu.Unlock()
					if request.Namespace == "renewal" {
						time.Sleep(renewal)
						queue.Done(request)
						give(request, mintqueue.RequeueSlot)
						continue
					}
					time.Sleep(read)
					queue.Done(request)
				}
			})
		}
		const fresh = 100
		for i := range fresh {
			time.Sleep(time.Second)
			give(named("new", i), mintqueue.RequeueRegular)
		}
		time.Sleep(10 * time.Minute)
		queue.ShutDown()
		running.Wait()
		t.Logf("at the most, a new token waited %s, and one of the lowest priority %s", worst["new"], worst["crowd"])
		if waited != burst+fresh {
			t.Errorf("%d of %d were reconciled in time", waited, burst+fresh)
		}
		if worst["new"] > read {
			t.Errorf("a new token waited %s, longer than one read", worst["new"])
		}
	})
}
