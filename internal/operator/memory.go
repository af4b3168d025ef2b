package operator

import (
	"context"
	"runtime/debug"
	"time"
)

// firstPasses is how long after it leads an operator has made a pass for each of some ten thousands of objects.
const firstPasses = time.Minute

// giveBackMemory returns to the system what the first passes took and nothing needs any more. Of 10,000 tokens that is a fifth of the
// process, which Go would keep until it next collects garbage: where nothing is due, for minutes. It implements manager.RunnableFunc.
func giveBackMemory(ctx context.Context) error {
	timer := time.NewTimer(firstPasses)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		debug.FreeOSMemory()
	}
	return nil
}
