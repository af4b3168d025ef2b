package apimodel

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WatchOptions are how an informer lists and watches.
type WatchOptions struct {
	// User is who asks.
	User string
	// Lag is how late the events of a kind come. It is called when they happen, and must not call the server. Nil: not at all.
	Lag func(kind string) time.Duration
	// Label and Field select. Nil: all.
	Label labels.Selector
	Field fields.Selector
}

// ListerWatcher is what an informer of the kind of an object lists and watches with: whole objects, or their metadata when the object is a
// PartialObjectMetadata.
func (s *Server) ListerWatcher(of runtime.Object, options WatchOptions) cache.ListerWatcher {
	k, err := s.kindOf(of)
	if err != nil {
		panic(err) // the kinds of informers stand in the program
	}
	_, metadataOnly := of.(*metav1.PartialObjectMetadata)
	return &listerWatcher{s, k, options, metadataOnly}
}

type listerWatcher struct {
	server       *Server
	kind         *kind
	options      WatchOptions
	metadataOnly bool
}

// IsWatchListSemanticsUnSupported makes informers list first, and watch from there: the model does not stream lists.
func (l *listerWatcher) IsWatchListSemanticsUnSupported() bool { return true }

func (l *listerWatcher) wanted() selection {
	return selection{label: l.options.Label, field: l.options.Field}
}

func (l *listerWatcher) asked(verb string) Request {
	return Request{User: l.options.User, Verb: verb, Kind: l.kind.gvk.Kind}
}

// List lists, for informers that have no context.
func (l *listerWatcher) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch watches, for informers that have no context.
func (l *listerWatcher) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

// ListWithContext lists what there is.
func (l *listerWatcher) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := l.server.newList(l.kind, l.metadataOnly)
	if err != nil {
		return nil, err
	}
	var listed page
	err = l.server.ask(ctx, l.asked(VerbList), func() (err error) {
		listed, err = l.server.list(l.kind, l.wanted(), options.Limit, options.Continue)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, l.kind.fill(list, listed)
}

// WatchWithContext watches from a version on.
func (l *listerWatcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if options.SendInitialEvents != nil {
		return nil, errors.New("the model does not stream lists")
	}
	w := &watcher{kind: l.kind, wanted: l.wanted(), metadataOnly: l.metadataOnly, lag: l.lag}
	return l.server.openWatch(ctx, l.asked(VerbWatch), w, options.ResourceVersion)
}

func (l *listerWatcher) lag() time.Duration {
	if l.options.Lag == nil {
		return 0
	}
	return l.options.Lag(l.kind.gvk.Kind)
}

// openWatch opens a watch, which ends with the context at the latest.
func (s *Server) openWatch(ctx context.Context, asked Request, w *watcher, from string) (watch.Interface, error) {
	opened := false
	err := s.ask(ctx, asked, func() error {
		err := s.watchFrom(w, from)
		opened = err == nil
		return err
	})
	if err != nil {
		if opened {
			w.Stop()
		}
		return nil, err
	}
	forget := context.AfterFunc(ctx, w.Stop)
	return &boundWatch{w, forget}, nil
}

// boundWatch is a watch that ends with a context.
type boundWatch struct {
	*watcher

	forget func() bool
}

// Stop ends the watch.
func (b *boundWatch) Stop() {
	b.forget()
	b.watcher.Stop()
}

// newList makes an empty list of objects, or of their metadata.
func (s *Server) newList(k *kind, metadataOnly bool) (client.ObjectList, error) {
	gvk := k.gvk
	gvk.Kind += "List"
	if metadataOnly {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk)
		return list, nil
	}
	made, err := s.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	list, ok := made.(client.ObjectList)
	if !ok {
		return nil, errors.New("the scheme has no list of " + k.gvk.Kind)
	}
	return list, nil
}
