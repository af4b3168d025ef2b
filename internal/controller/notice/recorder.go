package notice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
)

const (
	// writers is how many events are written at the same time. A pass writes twice or more before it tells one, so that eight keep up with
	// a dozen workers and more, however slow the API server is.
	writers = 8
	// mostQueued is how many events may wait for that. Those beyond are dropped: they stand in the log.
	mostQueued = 1000
	// flushTimeout bounds what a recorder that is stopped still writes.
	flushTimeout = 5 * time.Second
)

// retries are of one event: eight within two minutes. Others may have to wait for it.
var retries = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 8}

// Recorder writes events.
//
// It is there in the place of client-go's recorder, which keeps each event for six minutes and more, in case that it repeats and becomes
// a series. What is told here are transitions, which do not, and 10,000 tokens that are issued at once would be 12 MB for nothing.
type Recorder struct {
	events   typedeventsv1.EventsGetter
	scheme   *runtime.Scheme
	clock    clock.PassiveClock
	reporter string
	instance string
	logger   logr.Logger
	queue    chan *eventsv1.Event
}

var _ events.EventRecorder = (*Recorder)(nil)

// NewRecorder returns a recorder of events that the reporter reports. It begins to write once it is started.
func NewRecorder(to typedeventsv1.EventsGetter, scheme *runtime.Scheme, now clock.PassiveClock, reporter string, logger logr.Logger) *Recorder {
	host, _ := os.Hostname() // whose absence is no obstacle
	return &Recorder{
		events: to, scheme: scheme, clock: now, reporter: reporter, instance: Bounded(reporter+"-"+host, longestInstance), logger: logger,
		queue: make(chan *eventsv1.Event, mostQueued),
	}
}

// longestInstance is the longest reportingInstance that events.k8s.io accepts.
const longestInstance = 128

// Eventf queues an event. It implements events.EventRecorder.
func (r *Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	event, err := r.event(regarding, related, Notice{kind, reason, action, fmt.Sprintf(note, args...)})
	if err != nil {
		r.logger.Error(err, "an event cannot be told", "reason", reason)
		return
	}
	select {
	case r.queue <- event:
	default:
		r.logger.Info("an event is dropped: too many are on their way", "reason", reason, "namespace", event.Namespace, "name", event.Regarding.Name)
	}
}

func (r *Recorder) event(regarding, related runtime.Object, told Notice) (*eventsv1.Event, error) {
	object, err := reference.GetReference(r.scheme, regarding)
	if err != nil {
		return nil, fmt.Errorf("referring to the object of an event: %w", err)
	}
	now := r.clock.Now()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: util.GenerateEventName(object.Name, now.UnixNano())},
		EventTime:  metav1.NewMicroTime(now), ReportingController: r.reporter, ReportingInstance: r.instance,
		Type: told.Kind, Reason: told.Reason, Action: told.Action, Note: told.Note, Regarding: *object,
	}
	if event.Namespace == "" {
		event.Namespace = metav1.NamespaceDefault
	}
	if related != nil {
		if event.Related, err = reference.GetReference(r.scheme, related); err != nil {
			return nil, fmt.Errorf("referring to the related object of an event: %w", err)
		}
	}
	return event, nil
}

// Start writes events until the context ends, and then, for a few seconds at most, those that are on their way. It implements the
// manager's Runnable.
func (r *Recorder) Start(ctx context.Context) error {
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTimeout, stop) })()
	work := sync.WaitGroup{}
	for range writers {
		work.Go(func() { r.writeAll(writing, ctx.Done()) })
	}
	work.Wait()
	return nil
}

// writeAll writes what is queued until all is done and no more is to come.
func (r *Recorder) writeAll(ctx context.Context, over <-chan struct{}) {
	for {
		select {
		case event := <-r.queue:
			r.write(ctx, event)
			continue
		default:
		}
		select {
		case event := <-r.queue:
			r.write(ctx, event)
		case <-over:
			return
		}
	}
}

// write creates an event, and tries that again until it is refused for good or the context ends.
func (r *Recorder) write(ctx context.Context, event *eventsv1.Event) {
	var failed error
	_ = wait.ExponentialBackoffWithContext(ctx, retries, func(ctx context.Context) (bool, error) { // what it says, failed says better
		_, failed = r.events.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
		return failed == nil || refusedForGood(failed), nil
	})
	if failed != nil && !apierrors.IsAlreadyExists(failed) && !apierrors.HasStatusCause(failed, corev1.NamespaceTerminatingCause) {
		r.logger.Info("an event could not be written", "reason", event.Reason, "namespace", event.Namespace, "name", event.Regarding.Name, "error", failed.Error())
	}
}

// refusedForGood reports whether an event that was answered like this would be refused again.
func refusedForGood(err error) bool {
	answer, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && answer.ErrStatus.Code >= 400 && answer.ErrStatus.Code < 500 && !apierrors.IsTooManyRequests(err)
}
