package reactorsession

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	clientgoapply "k8s.io/client-go/applyconfigurations"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/api/v1alpha1/applyconfiguration"
)

// apiServer is controller-runtime's fake client with what a real API server does besides: UIDs, also as a precondition,
// creation times and generations. It keeps an account of what the operator asks of it, and lets a test meddle with that.
//
// Admission, CEL, real managed fields and garbage collection are not here: test/integration runs on a real API server.
type apiServer struct {
	client.WithWatch // the access of the tests, which nobody counts or meddles with

	// cacheLag is how long a change takes to the operator's cache: its passes meet stale caches, as they do in a cluster.
	cacheLag time.Duration
	// sessionLag is that of the watch of ReactorSessions, when it is another.
	sessionLag time.Duration

	// writes counts them, whosever they are: who looks at everything every few seconds need not look again when nothing was written.
	writes *atomic.Uint64

	mu     sync.Mutex
	calls  []call
	meddle func(made call, do func() error) error
	mutate func(created client.Object) // a mutating webhook; nil: there is none
	said   strings.Builder             // all that the operator wrote, but for the payloads of Secrets
}

// call is one request of the operator.
type call struct{ verb, kind, name string }

func (c call) writes() bool { return c.verb != "get" && c.verb != "list" }

// newScheme knows only the kinds that are needed here: the fake client goes through all of them at each write.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	scheme := newScheme(t)
	base := fake.NewClientBuilder().
		WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.ReactorToken{}, &v1alpha1.ReactorSession{}, &corev1.Pod{}).
		WithTypeConverters(
			clientgoapply.NewTypeConverter(clientgoscheme.Scheme),
			applyconfiguration.NewTypeConverter(scheme),
			managedfields.NewDeducedTypeConverter(),
		).
		WithReturnManagedFields().
		WithGlobalResourceVersionCounter().
		Build()
	writes := &atomic.Uint64{}
	return &apiServer{WithWatch: interceptor.NewClient(interceptor.NewClient(base, whatTheFakeLeavesOut()), counted(writes)), cacheLag: 20 * time.Millisecond, writes: writes}
}

// counted counts writes once they are done.
func counted(writes *atomic.Uint64) interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.CreateOption) error {
			defer writes.Add(1)
			return base.Create(ctx, object, options...)
		},
		Update: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			defer writes.Add(1)
			return base.Update(ctx, object, options...)
		},
		Patch: func(ctx context.Context, base client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			defer writes.Add(1)
			return base.Patch(ctx, object, patch, options...)
		},
		Apply: func(ctx context.Context, base client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			defer writes.Add(1)
			return base.Apply(ctx, wanted, options...)
		},
		Delete: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			defer writes.Add(1)
			return base.Delete(ctx, object, options...)
		},
		SubResourceUpdate: func(ctx context.Context, base client.Client, of string, object client.Object, options ...client.SubResourceUpdateOption) error {
			defer writes.Add(1)
			return base.SubResource(of).Update(ctx, object, options...)
		},
	}
}

func whatTheFakeLeavesOut() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.CreateOption) error {
			object.SetUID(types.UID(uuid.NewString()))
			object.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
			object.SetGeneration(1)
			return base.Create(ctx, object, options...)
		},
		Update: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.UpdateOption) error {
			before := object.DeepCopyObject().(client.Object)
			if err := base.Get(ctx, client.ObjectKeyFromObject(object), before); err != nil {
				return err
			}
			if !equality.Semantic.DeepEqual(specOf(before), specOf(object)) {
				object.SetGeneration(before.GetGeneration() + 1)
			}
			return base.Update(ctx, object, options...)
		},
		Patch: func(ctx context.Context, base client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			before := object.DeepCopyObject().(client.Object)
			if err := base.Get(ctx, client.ObjectKeyFromObject(object), before); err != nil {
				return err
			}
			if err := base.Patch(ctx, object, patch, options...); err != nil || equality.Semantic.DeepEqual(specOf(before), specOf(object)) {
				return err
			}
			object.SetGeneration(before.GetGeneration() + 1)
			return base.Update(ctx, object)
		},
		Apply: func(ctx context.Context, base client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			object := contentOf(wanted)
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(object.GroupVersionKind())
			err := base.Get(ctx, client.ObjectKeyFromObject(object), live)
			if err == nil && object.GetUID() != "" && object.GetUID() != live.GetUID() {
				return conflict(object.GetName())
			}
			return base.Apply(ctx, wanted, options...)
		},
		Delete: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			wanted := (&client.DeleteOptions{}).ApplyOptions(options).Preconditions
			live := object.DeepCopyObject().(client.Object)
			err := base.Get(ctx, client.ObjectKeyFromObject(object), live)
			if err == nil && wanted != nil && wanted.UID != nil && *wanted.UID != live.GetUID() {
				return conflict(object.GetName())
			}
			return base.Delete(ctx, object, options...)
		},
	}
}

// specOf is the part of an object whose changes count in its generation.
func specOf(object client.Object) any {
	switch typed := object.(type) {
	case *v1alpha1.ReactorToken:
		return typed.Spec
	case *v1alpha1.ReactorSession:
		return typed.Spec
	default:
		return nil
	}
}

func conflict(name string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, name, errors.New("another UID"))
}

// contentOf reads any kind of object, typed or to be applied.
func contentOf(object any) *unstructured.Unstructured {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	content := &unstructured.Unstructured{}
	if err := json.Unmarshal(text, &content.Object); err != nil {
		panic(err)
	}
	return content
}

// clientFor is the access of one run of the operator. Once crashed tells so, nothing that it asks reaches the server.
func (s *apiServer) clientFor(crashed func() bool) client.WithWatch {
	ask := func(verb string, object any, name string, do func() error) error {
		made := call{verb, s.kindOf(object), name}
		if crashed() {
			return errors.New("the operator has crashed")
		}
		return s.note(made, object)(made, do)
	}
	return interceptor.NewClient(s.WithWatch, interceptor.Funcs{
		Get: func(ctx context.Context, base client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			return ask("get", into, key.Name, func() error { return base.Get(ctx, key, into, options...) })
		},
		List: func(ctx context.Context, base client.WithWatch, into client.ObjectList, options ...client.ListOption) error {
			return ask("list", into, "", func() error { return base.List(ctx, into, options...) })
		},
		Create: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.CreateOption) error {
			return ask("create", object, object.GetName(), func() error {
				s.admit(object)
				return base.Create(ctx, object, options...)
			})
		},
		Delete: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			verb := "delete"
			if (&client.DeleteOptions{}).ApplyOptions(options).GracePeriodSeconds != nil {
				verb = "delete by force"
			}
			return ask(verb, object, object.GetName(), func() error { return base.Delete(ctx, object, options...) })
		},
		Patch: func(ctx context.Context, base client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			return ask("patch", object, object.GetName(), func() error { return base.Patch(ctx, object, patch, options...) })
		},
		Apply: func(ctx context.Context, base client.WithWatch, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			return ask("apply", wanted, contentOf(wanted).GetName(), func() error { return base.Apply(ctx, wanted, options...) })
		},
		SubResourceUpdate: func(ctx context.Context, base client.Client, of string, object client.Object, options ...client.SubResourceUpdateOption) error {
			return ask("update "+of, object, object.GetName(), func() error { return base.SubResource(of).Update(ctx, object, options...) })
		},
	})
}

// admit has the mutating webhook change an object that is being created.
func (s *apiServer) admit(created client.Object) {
	s.mu.Lock()
	mutate := s.mutate
	s.mu.Unlock()
	if mutate != nil {
		mutate(created)
	}
}

// mutateWith has a mutating webhook change what the operator creates.
func (s *apiServer) mutateWith(mutate func(created client.Object)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mutate = mutate
}

// kindOf names the kind of an object, of a list or of an apply configuration.
func (s *apiServer) kindOf(object any) string {
	if typed, ok := object.(runtime.Object); ok {
		if gvk, err := s.GroupVersionKindFor(typed); err == nil {
			return strings.TrimSuffix(gvk.Kind, "List")
		}
	}
	return contentOf(object).GetKind()
}

// note writes a call down, and returns what the test makes of it.
func (s *apiServer) note(made call, object any) func(call, func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, made)
	if made.writes() {
		content := contentOf(object).Object
		delete(content, "data")
		text, _ := json.Marshal(content)
		s.said.Write(append(text, '\n'))
	}
	if s.meddle == nil {
		return func(_ call, do func() error) error { return do() }
	}
	return s.meddle
}

// meddleWith lets f decide what becomes of each call of the operator; nil for no meddling.
func (s *apiServer) meddleWith(f func(made call, do func() error) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = f
}

// asked counts the calls of the operator that match; an empty field matches all.
func (s *apiServer) asked(like call) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, made := range s.calls {
		if (like.verb == "" || like.verb == made.verb) && (like.kind == "" || like.kind == made.kind) && (like.name == "" || like.name == made.name) {
			count++
		}
	}
	return count
}

// errAway is what a call meets when the API server does not answer.
var errAway = errors.New("connection refused")

// secretIn is a Secret with one key.
func secretIn(namespace, name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{key: []byte(value)},
	}
}
