package operator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestReadyOnceTheCachesAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		caches := &cachesFilled{filled: make(chan struct{})}
		if err := caches.check(nil); !errors.Is(err, errCachesFilling) {
			t.Errorf("before the start: %v", err)
		}
		ended := make(chan error, 1)
		go func() { ended <- caches.Start(ctx) }()
		synctest.Wait()
		if err := caches.check(nil); err != nil {
			t.Errorf("after the start: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("at the end: %v", err)
		}
		if err := caches.check(nil); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestReadinessDoesNotWaitForTheLead(t *testing.T) {
	if (&cachesFilled{}).NeedLeaderElection() {
		t.Error("a standby replica would never be ready")
	}
}
