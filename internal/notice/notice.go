// Package notice is what the controllers tell as events of events.k8s.io: it is made while a pass is reported, which is pure, and told
// after the status that it speaks of was written.
package notice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
)

// LongestNote is the longest note that events.k8s.io accepts, in bytes.
const LongestNote = 1024

// Notice is an event before it is emitted. Kind is one of the types of events: Normal or Warning.
type Notice struct {
	Kind, Reason, Action, Note string
}

// Normal tells of what went as it should.
func Normal(reason, action, format string, args ...any) Notice {
	return Notice{corev1.EventTypeNormal, reason, action, fmt.Sprintf(format, args...)}
}

// Warning tells of what somebody may want to look at.
func Warning(reason, action, format string, args ...any) Notice {
	return Notice{corev1.EventTypeWarning, reason, action, fmt.Sprintf(format, args...)}
}

// Announce logs and emits the notices of a pass over an object.
func Announce(ctx context.Context, recorder events.EventRecorder, regarding runtime.Object, told []Notice) {
	for _, n := range told {
		ctrl.LoggerFrom(ctx).Info(n.Note, "reason", n.Reason)
		recorder.Eventf(regarding, nil, n.Kind, n.Reason, n.Action, "%s", Bounded(n.Note, LongestNote))
	}
}

// Bounded cuts a text to a number of bytes, not within a character.
func Bounded(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for cut > 0 && text[cut]&0xC0 == 0x80 { // a continuation byte of UTF-8
		cut--
	}
	return text[:cut] + "…"
}
