package apimodel

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"
)

// Options are the settings of a Server.
type Options struct {
	// UID makes the UIDs of new objects, and what completes generated names. Defaults to random ones.
	UID func() types.UID
	// Clock tells creation and deletion times. Defaults to the time of package time, which a synctest bubble replaces. How late events come is
	// always counted in that time.
	Clock clock.PassiveClock
}

// Server is the model. Its methods may be called from several goroutines.
type Server struct {
	scheme *runtime.Scheme
	uid    func() types.UID
	clock  clock.PassiveClock
	kinds  map[string]*kind // by name
	mapper meta.RESTMapper

	mu      sync.Mutex
	version uint64 // the resourceVersion of the last change
	hook    Hook
}

// New makes a server that holds nothing.
func New(options Options) *Server {
	s := &Server{scheme: newScheme(), uid: options.UID, clock: options.Clock, kinds: map[string]*kind{}}
	if s.uid == nil {
		s.uid = uuid.NewUUID
	}
	if s.clock == nil {
		s.clock = clock.RealClock{}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, k := range servedKinds(s.scheme) {
		s.kinds[k.gvk.Kind] = k
		resource := k.gvk.GroupVersion().WithResource(k.resource.Resource)
		mapper.AddSpecific(k.gvk, resource, resource, meta.RESTScopeNamespace)
	}
	s.mapper = mapper
	return s
}

// The verbs of requests: those of RBAC, but that an apply is told from other patches.
const (
	VerbGet    = "get"
	VerbList   = "list"
	VerbWatch  = "watch"
	VerbCreate = "create"
	VerbUpdate = "update"
	VerbPatch  = "patch"
	VerbApply  = "apply"
	VerbDelete = "delete"
)

// Request is what a client asks.
type Request struct {
	User        string
	Verb        string
	Kind        string
	Subresource string
	Namespace   string
	Name        string // empty for lists, watches and objects whose name is generated

	// Sent is the body of a write: the object of a create and of an update, which the hook may change before the server serves it; the
	// json.RawMessage of a patch and of an apply; the *metav1.DeleteOptions of a delete. Nil for reads.
	Sent any
}

// Writes reports whether the request is to change something.
func (r Request) Writes() bool {
	return r.Verb != VerbGet && r.Verb != VerbList && r.Verb != VerbWatch
}

// Hook is called for every request in the place of the server. It has the request served by calling do, at most once, and its answer is
// what the client gets. It may wait, and may ask the server itself; it is called from as many goroutines as there are requests.
type Hook func(ctx context.Context, asked Request, do func() error) error

// SetHook sets what is called for every request from now on; nil: nothing is.
func (s *Server) SetHook(hook func(ctx context.Context, asked Request, do func() error) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// ask has a request served, by way of the hook. A request of a caller that is gone is not served.
func (s *Server) ask(ctx context.Context, asked Request, serve func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	locked := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return serve()
	}
	if hook == nil {
		return locked()
	}
	return hook(ctx, asked, locked)
}

// now is the time as it is written into objects: in whole seconds.
func (s *Server) now() metav1.Time {
	return metav1.NewTime(s.clock.Now().Round(0).UTC().Truncate(precision))
}
