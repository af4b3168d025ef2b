package operator

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsReleasedOnceAfterTheFirstReconciles(t *testing.T) {
	forced := func() uint32 {
		stats := runtime.MemStats{}
		runtime.ReadMemStats(&stats)
		return stats.NumForcedGC
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		before := forced()
		stop()
		if err := releaseMemory(ctx); err != nil || forced() != before {
			t.Errorf("at the end: %v, %d times", err, forced()-before)
		}
		began := time.Now()
		if err := releaseMemory(t.Context()); err != nil || forced() != before+1 || time.Since(began) != firstReconciles {
			t.Errorf("%v, %d times, after %s", err, forced()-before, time.Since(began))
		}
	})
}
