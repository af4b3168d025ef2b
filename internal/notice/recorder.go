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
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
)

const (
	// writers is how many events are written at the same time. A reconcile writes twice or more before it emits one, so that eight keep up
	// with a dozen workers and more, however slow the API server is.
	writers = 8
	// maxQueued is how many events may wait for that. Further events are dropped: the log has them.
	maxQueued = 1000
	// FlushTimeout is how long a recorder that is stopped continues to write queued events. It is what remains of a lease (15 s) when its
	// holder stops renewing it (after 10 s), so that a former leader ends before the next one starts.
	FlushTimeout = 5 * time.Second
)

// An event that could not be written is queued again after retryInterval, behind the others, for maxTries: two minutes. The interval
// does not grow, so that an API server that answers again during a shutdown gets the events within FlushTimeout. Eight writers send
// four requests per second to one that does not answer.
const (
	retryInterval = 2 * time.Second
	maxTries      = 60
)

// Recorder writes events. It replaces client-go's recorder, for two reasons (docs/adr/0010-own-event-recorder.md):
//   - it writes the events of the last reconciles before the process ends;
//   - it does not keep events in memory to aggregate them. Our events are transitions, which do not repeat.
type Recorder struct {
	events   typedeventsv1.EventsGetter
	scheme   *runtime.Scheme
	clock    clock.PassiveClock
	reporter string
	instance string
	logger   logr.Logger
	queue    chan queuedEvent
}

var _ events.EventRecorder = (*Recorder)(nil)

// NewRecorder returns a recorder of events that the reporter reports. It queues events, and writes them once it is started.
func NewRecorder(to typedeventsv1.EventsGetter, scheme *runtime.Scheme, now clock.PassiveClock, reporter string, logger logr.Logger) *Recorder {
	host, _ := os.Hostname() // the name is optional
	return &Recorder{
		events: to, scheme: scheme, clock: now, reporter: reporter, instance: Bounded(reporter+"-"+host, maxInstance), logger: logger,
		queue: make(chan queuedEvent, maxQueued),
	}
}

// maxInstance is the longest reportingInstance that events.k8s.io accepts.
const maxInstance = 128

// Eventf queues an event. It implements events.EventRecorder.
func (r *Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	event, err := r.event(regarding, related, Notice{kind, reason, action, fmt.Sprintf(note, args...)})
	if err != nil {
		r.logger.Error(err, "an event cannot be created", "reason", reason)
		return
	}
	select {
	case r.queue <- queuedEvent{event: event}:
	default:
		r.logger.Info("an event is dropped: too many are queued", "reason", reason, "namespace", event.Namespace, "name", event.Regarding.Name)
	}
}

func (r *Recorder) event(regarding, related runtime.Object, notice Notice) (*eventsv1.Event, error) {
	object, err := reference.GetReference(r.scheme, regarding)
	if err != nil {
		return nil, fmt.Errorf("referring to the object of an event: %w", err)
	}
	now := r.clock.Now()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: util.GenerateEventName(object.Name, now.UnixNano())},
		EventTime:  metav1.NewMicroTime(now), ReportingController: r.reporter, ReportingInstance: r.instance,
		Type: notice.Kind, Reason: notice.Reason, Action: notice.Action, Note: notice.Note, Regarding: *object,
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

// Start starts to write events. It takes no context, because a recorder must outlive what emits: call stop, once, when every reconcile has
// ended. Events that were emitted before the call of stop are written before it returns. It returns after FlushTimeout at most,
// and logs the events that are not written by then.
func (r *Recorder) Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	work := sync.WaitGroup{}
	for range writers {
		work.Go(func() { r.writeAll(ctx, stopped) })
	}
	return func() {
		close(stopped)
		timeout := time.AfterFunc(FlushTimeout, cancel)
		work.Wait()
		timeout.Stop()
		cancel()
	}
}

// writeAll writes events until the recorder is stopped, and then those that are queued.
func (r *Recorder) writeAll(ctx context.Context, stopped <-chan struct{}) {
	for {
		select {
		case event := <-r.queue:
			r.write(ctx, event)
		case <-stopped:
			r.flush(ctx)
			return
		}
	}
}

// flush writes the events that are queued. Without it one could stay in the queue: 1. An event is queued. 2. The recorder is stopped.
// 3. The select of writeAll, which takes any of the channels that are ready, takes stopped.
func (r *Recorder) flush(ctx context.Context) {
	for {
		select {
		case event := <-r.queue:
			r.write(ctx, event)
		default:
			return
		}
	}
}

// queuedEvent is an event that waits to be written.
type queuedEvent struct {
	event *eventsv1.Event
	tries int
}

// write creates an event. One that fails does not keep its writer from the others, because the cause may concern it alone:
//
//  1. A webhook that fails denies the events of one namespace. Eight of them are queued, one for each writer.
//  2. An event of another namespace is queued behind them.
//  3. Each writer tries its event once, and queues it again behind that one.
func (r *Recorder) write(ctx context.Context, queued queuedEvent) {
	event := queued.event
	_, err := r.events.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	queued.tries++
	if err == nil || !IsRefused(err) && queued.tries < maxTries && r.requeue(ctx, queued) {
		return
	}
	if !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		r.logger.Info("an event could not be written", "reason", event.Reason, "namespace", event.Namespace, "name", event.Regarding.Name, "error", err.Error())
	}
}

// requeue queues an event again after retryInterval. It reports whether there was room and time for it.
func (r *Recorder) requeue(ctx context.Context, queued queuedEvent) bool {
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	select {
	case r.queue <- queued:
		return true
	default:
		return false
	}
}

// IsRefused reports whether the API server rejected a request itself (4xx), so that it would reject it again. A server that is busy
// (429) or away did not.
func IsRefused(err error) bool {
	answer, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && answer.ErrStatus.Code >= 400 && answer.ErrStatus.Code < 500 && !apierrors.IsTooManyRequests(err)
}
