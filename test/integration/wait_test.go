package integration

import (
	"testing"
	"time"
)

const (
	// patience is how long a test waits for what is to happen. It measures nothing: it ends tests that wait in vain.
	patience = 2 * time.Minute

	// glance is the time between two looks.
	glance = 50 * time.Millisecond
)

// eventually waits until the check finds nothing to object to. The test fails with the last objection.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		objection := check()
		if objection == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited %s for this: %s\nat last: %v", patience, what, objection)
		}
	}
}
