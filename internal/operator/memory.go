package operator

import (
	"context"
	"runtime/debug"
	"time"
)

// firstReconciles is how long after it becomes the leader an operator has reconciled some ten thousands of objects.
const firstReconciles = time.Minute

// releaseMemory returns to the system what the first reconciles took and nothing needs any more. Of 10,000 tokens that is a fifth of the
// process, which Go would keep until it next collects garbage: where nothing is due, for minutes. It implements manager.RunnableFunc.
func releaseMemory(ctx context.Context) error {
	timer := time.NewTimer(firstReconciles)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		debug.FreeOSMemory()
	}
	return nil
}
