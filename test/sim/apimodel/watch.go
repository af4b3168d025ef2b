package apimodel

import (
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watcher passes the events of a kind to one client, in their order, each some time after it happened.
type watcher struct {
	server       *Server
	kind         *kind
	wanted       selection
	metadataOnly bool
	lag          func() time.Duration
	result       chan watch.Event
	stopped      chan struct{}
	stop         sync.Once

	mu      sync.Mutex
	late    []lateEvent
	arrived chan struct{}
}

type lateEvent struct {
	watch.Event

	due time.Time
}

// watchFrom begins a watch after a version; "" and "0" mean that what exists is told first.
func (s *Server) watchFrom(w *watcher, from string) error {
	if err := w.kind.check(w.wanted); err != nil {
		return err
	}
	w.server, w.result, w.stopped, w.arrived = s, make(chan watch.Event), make(chan struct{}), make(chan struct{}, 1)
	if from == "" || from == "0" {
		for _, object := range w.kind.selected(w.wanted) {
			w.pass(watch.Added, object, time.Now())
		}
	} else {
		if version(from) < w.kind.forgotten {
			return apierrors.NewResourceExpired("too old resource version: " + from)
		}
		for _, happened := range w.kind.history {
			if happened.version > version(from) {
				w.offer(happened)
			}
		}
	}
	w.kind.watchers[w] = struct{}{}
	go w.deliver()
	return nil
}

// offer tells a watcher of an event. An object that comes to be selected is added for it, and one that ceases to be so is deleted.
func (w *watcher) offer(happened event) {
	before := happened.before != nil && w.kind.selects(w.wanted, happened.before)
	after := happened.after != nil && w.kind.selects(w.wanted, happened.after)
	due := happened.at.Add(w.lag())
	switch {
	case before && after:
		w.pass(watch.Modified, happened.after, due)
	case after:
		w.pass(watch.Added, happened.after, due)
	case before:
		last, _ := happened.before.DeepCopyObject().(client.Object)
		last.SetResourceVersion(versionText(happened.version))
		w.pass(watch.Deleted, last, due)
	}
}

func (w *watcher) pass(what watch.EventType, object client.Object, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = append(w.late, lateEvent{watch.Event{Type: what, Object: w.kind.answer(object, w.metadataOnly)}, due})
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// deliver delivers until the watch is stopped.
func (w *watcher) deliver() {
	defer close(w.result)
	for {
		next, ok := w.first()
		if !ok {
			select {
			case <-w.arrived:
				continue
			case <-w.stopped:
				return
			}
		}
		if wait := time.Until(next.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-w.stopped:
				return
			}
		}
		select {
		case w.result <- next.Event:
			w.delivered()
		case <-w.stopped:
			return
		}
	}
}

func (w *watcher) first() (lateEvent, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.late) == 0 {
		return lateEvent{}, false
	}
	return w.late[0], true
}

func (w *watcher) delivered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = w.late[1:]
}

// ResultChan is where the events come. It is closed when the watch ends.
func (w *watcher) ResultChan() <-chan watch.Event { return w.result }

// Stop ends the watch. What was not delivered is lost.
func (w *watcher) Stop() {
	w.stop.Do(func() {
		close(w.stopped)
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		delete(w.kind.watchers, w)
	})
}

// BreakWatches ends all watches, and forgets what happened: whoever watched has to list again. It is what a restart of the API server looks
// like to its clients.
func (s *Server) BreakWatches() {
	var broken []*watcher
	s.mu.Lock()
	for _, k := range s.kinds {
		s.version++ // so that all that was listed before is too old
		k.history, k.forgotten = nil, s.version
		for w := range k.watchers {
			broken = append(broken, w)
		}
	}
	s.mu.Unlock()
	for _, w := range broken {
		w.Stop()
	}
}
