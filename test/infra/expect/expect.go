// Package expect has what the tests of several suites check: a condition that becomes true later, and objects in rendered manifests.
package expect

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// Timeout is how long a test waits for a condition. It measures nothing: it ends tests that wait in vain.
	Timeout = 3 * time.Minute
	// interval is the time between two checks.
	interval = 50 * time.Millisecond
)

// Eventually waits until check returns nil. Otherwise the test fails after Timeout with the last error, and with what the functions in details
// return, such as the state of the cluster.
func Eventually(t *testing.T, what string, check func() error, details ...func() string) {
	t.Helper()
	deadline := time.NewTimer(Timeout)
	defer deadline.Stop()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			var text strings.Builder
			for _, detail := range details {
				text.WriteString("\n" + detail())
			}
			t.Fatalf("waited %s for this: %s\nthe last error: %v%s", Timeout, what, err, text.String())
		}
	}
}

// Only returns the only object of a kind and a name. The test fails if there is none, or more than one.
func Only(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there must be one %s %s, and there are %d", kind, name, len(found))
	}
	return found[0]
}

// Convert converts an object to its type. The test fails if that is not possible.
func Convert(t *testing.T, object *unstructured.Unstructured, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
}
