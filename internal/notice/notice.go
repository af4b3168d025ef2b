// Package notice has the events of events.k8s.io that the controllers emit. A notice is made while the report of a reconcile is built, which is pure,
// and emitted after the status that it describes was written.
package notice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
)

// MaxNote is the longest note that events.k8s.io accepts, in bytes.
const MaxNote = 1024

// Notice is an event before it is emitted. Kind is one of the types of events: Normal or Warning.
type Notice struct {
	Kind, Reason, Action, Note string
}

// Normal returns a notice of something that is expected.
func Normal(reason, action, format string, args ...any) Notice {
	return Notice{corev1.EventTypeNormal, reason, action, fmt.Sprintf(format, args...)}
}

// Warning returns a notice of something that a user may have to check.
func Warning(reason, action, format string, args ...any) Notice {
	return Notice{corev1.EventTypeWarning, reason, action, fmt.Sprintf(format, args...)}
}

// Emit logs and emits the notices of a reconcile of an object.
func Emit(ctx context.Context, recorder events.EventRecorder, regarding runtime.Object, notices []Notice) {
	for _, n := range notices {
		ctrl.LoggerFrom(ctx).Info(n.Note, "reason", n.Reason)
		recorder.Eventf(regarding, nil, n.Kind, n.Reason, n.Action, "%s", Bounded(n.Note, MaxNote))
	}
}

// Bounded cuts a text to a number of bytes, not within a character.
func Bounded(text string, maxBytes int) string {
	if len(text) <= maxBytes {
		return text
	}
	cut := maxBytes - len("…")
	for cut > 0 && text[cut]&0xC0 == 0x80 { // a continuation byte of UTF-8
		cut--
	}
	return text[:cut] + "…"
}
