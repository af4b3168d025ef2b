package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// differ is an error that shows how two values differ, or nil. No secret must be in them.
func differ(what string, want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("%s (-want +got):\n%s", what, diff)
	}
	return nil
}
