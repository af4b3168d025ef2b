package integration

import (
	"fmt"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

const (
	// patience is how long a test waits. It measures nothing: it ends tests that wait in vain.
	patience = expect.Timeout
)

// differ is an error that shows how two values differ, or nil. No secret must be in them.
func differ(what string, want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("%s (-want +got):\n%s", what, diff)
	}
	return nil
}
