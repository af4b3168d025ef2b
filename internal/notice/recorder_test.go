package notice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/utils/clock"
)

// sink is an API server that takes events.
type sink struct {
	typedeventsv1.EventInterface
	delay  func(context.Context) error      // before the event is taken; nil: none
	answer func(note string, try int) error // nil: it takes all

	mu    sync.Mutex
	tries int
	taken []*eventsv1.Event
}

func (s *sink) Events(string) typedeventsv1.EventInterface { return s }

func (s *sink) Create(ctx context.Context, event *eventsv1.Event, _ metav1.CreateOptions) (*eventsv1.Event, error) {
	if s.delay != nil {
		if err := s.delay(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.answer != nil {
		if err := s.answer(event.Note, s.tries); err != nil {
			return nil, err
		}
	}
	s.taken = append(s.taken, event)
	return event, nil
}

func (s *sink) notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var notes []string
	for _, event := range s.taken {
		notes = append(notes, event.Note)
	}
	slices.Sort(notes)
	return notes
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, args)
	}, funcr.Options{})
}

// count returns how many lines contain a text.
func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := 0
	for _, line := range l.all {
		if strings.Contains(line, text) {
			found++
		}
	}
	return found
}

func newTestRecorder(t *testing.T, to *sink, logger logr.Logger) *Recorder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return NewRecorder(to, scheme, clock.RealClock{}, "reactor-operator", logger)
}

func pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u", ResourceVersion: "7"}}
}

func TestAnEventSaysWhatHappenedToWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &sink{}
		recorder := newTestRecorder(t, server, logr.Discard())
		recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "it %s", "runs")
		recorder.Eventf(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, pod("studio", "web"), corev1.EventTypeWarning, "Lost", "Watch", "gone")
		recorder.Start()()
		theWeb := corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: "studio", Name: "web", UID: "u", ResourceVersion: "7"}
		want := []*eventsv1.Event{
			{
				ObjectMeta: metav1.ObjectMeta{Namespace: "studio"}, EventTime: metav1.NewMicroTime(time.Now()), ReportingController: "reactor-operator",
				Type: "Normal", Reason: "Started", Action: "Start", Note: "it runs", Regarding: theWeb,
			},
			{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, EventTime: metav1.NewMicroTime(time.Now()), ReportingController: "reactor-operator",
				Type: "Warning", Reason: "Lost", Action: "Watch", Note: "gone",
				Regarding: corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: "one"}, Related: &theWeb,
			},
		}
		ignored := cmp.Options{
			cmpopts.IgnoreFields(eventsv1.Event{}, "ObjectMeta.Name", "ReportingInstance"),
			cmpopts.SortSlices(func(one, other *eventsv1.Event) bool { return one.Type < other.Type }),
		}
		if diff := cmp.Diff(want, server.taken, ignored); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		for _, event := range server.taken {
			if !strings.HasPrefix(event.Name, event.Regarding.Name+".") || !strings.HasPrefix(event.ReportingInstance, "reactor-operator-") {
				t.Errorf("its name is %s, and it was reported by %s", event.Name, event.ReportingInstance)
			}
		}
	})
}

func TestAnEventIsTriedAgainUntilItIsTakenOrRefusedForGood(t *testing.T) {
	resource := schema.GroupResource{Resource: "events"}
	for name, test := range map[string]struct {
		answer    error
		wantTries int
	}{
		"the network fails":        {errors.New("connection refused"), 3},
		"too many requests":        {apierrors.NewTooManyRequests("later", 1), 3},
		"the API server has erred": {apierrors.NewInternalError(errors.New("etcd")), 3},
		"it is not valid":          {apierrors.NewInvalid(schema.GroupKind{Kind: "Event"}, "x", nil), 1},
		"it is forbidden":          {apierrors.NewForbidden(resource, "x", errors.New("no permission")), 1},
		"it exists already":        {apierrors.NewAlreadyExists(resource, "x"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &sink{answer: func(note string, try int) error {
					if note == "first" && try < 3 {
						return test.answer
					}
					return nil
				}}
				recorder := newTestRecorder(t, server, logr.Discard())
				recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "first")
				stop := recorder.Start()
				time.Sleep(time.Minute)
				synctest.Wait()
				if server.tries != test.wantTries {
					t.Errorf("tried %d times, want %d", server.tries, test.wantTries)
				}
				recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "second")
				stop()
				if !slices.Contains(server.notes(), "second") {
					t.Error("the next event is not written")
				}
			})
		})
	}
}

// However many events are queued, and whatever the API server does, a shutdown waits for them for a bounded time.
func TestAStoppedRecorderWritesQueuedEventsForFlushTimeoutAtMost(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context) error{
		"the API server is down":         func(context.Context) error { return errors.New("connection refused") },
		"the API server never responds":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"the API server takes 3 s, each": func(ctx context.Context) error { return sleep(ctx, 3*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				server := &sink{delay: answer}
				recorder := newTestRecorder(t, server, log.logger())
				for i := range maxQueued {
					recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "%d", i)
				}
				stop := recorder.Start()
				stopped := time.Now()
				stop()
				if took := time.Since(stopped); took != FlushTimeout {
					t.Errorf("it stopped after %s, want %s", took, FlushTimeout)
				}
				if written, lost := len(server.notes()), log.count("an event could not be written"); written+lost != maxQueued {
					t.Errorf("of %d events, %d were written and %d were logged as not written", maxQueued, written, lost)
				}
			})
		})
	}
}

// The scenario: 1. The API server is down for a minute. 2. The recorder is stopped. 3. A second later the API server answers.
func TestAStoppedRecorderRetriesEventsThatFailedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(time.Minute + time.Second)
		server := &sink{answer: func(string, int) error {
			if time.Now().Before(up) {
				return errors.New("connection refused")
			}
			return nil
		}}
		recorder := newTestRecorder(t, server, logr.Discard())
		stop := recorder.Start()
		recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "it runs")
		time.Sleep(time.Minute)
		stop()
		if diff := cmp.Diff([]string{"it runs"}, server.notes()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestEventsBeyondTheQueueAreDroppedWithoutAWait(t *testing.T) {
	dropped := 0
	logger := funcr.New(func(_, args string) {
		if strings.Contains(args, "dropped") {
			dropped++
		}
	}, funcr.Options{})
	server := &sink{}
	recorder := newTestRecorder(t, server, logger)
	for i := range maxQueued + 3 {
		recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "%04d", i)
	}
	recorder.Start()()
	if got := server.notes(); len(got) != maxQueued || got[maxQueued-1] != fmt.Sprintf("%04d", maxQueued-1) || dropped != 3 {
		t.Errorf("%d are written, and %d dropped", len(got), dropped)
	}
}

func TestAnEventOfAnUnknownKindIsLoggedAndNotQueued(t *testing.T) {
	var log strings.Builder
	recorder := newTestRecorder(t, &sink{}, funcr.New(func(_, args string) { log.WriteString(args) }, funcr.Options{}))
	recorder.Eventf(&eventsv1.Event{}, nil, corev1.EventTypeNormal, "Started", "Start", "it runs")
	if len(recorder.queue) != 0 || !strings.Contains(log.String(), "cannot be created") {
		t.Errorf("%d are queued; the log: %s", len(recorder.queue), log.String())
	}
}

// A webhook that fails denies the events of one namespace.
func TestEventsThatFailDoNotKeepTheOthersFromBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &sink{answer: func(note string, _ int) error {
			if note == "denied" {
				return apierrors.NewInternalError(errors.New("failed calling webhook"))
			}
			return nil
		}}
		recorder := newTestRecorder(t, server, logr.Discard())
		stop := recorder.Start()
		for range 2 * writers {
			recorder.Eventf(pod("tenant", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "denied")
		}
		time.Sleep(time.Minute)
		recorder.Eventf(pod("studio", "web"), nil, corev1.EventTypeNormal, "Started", "Start", "allowed")
		stop()
		if diff := cmp.Diff([]string{"allowed"}, server.notes()); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
	})
}
