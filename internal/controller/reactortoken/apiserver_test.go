package reactortoken

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	appsv1 "k8s.io/api/apps/v1"
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
	// tokensLag is how much longer a change of a ReactorToken takes: two watches keep no order between them.
	tokensLag time.Duration

	mu      sync.Mutex
	calls   []call
	meddle  func(made call, do func() error) error
	written strings.Builder // everything that the operator wrote, except the payloads of Secrets
}

// call is one request of the operator.
type call struct{ verb, kind, name string }

func (c call) writes() bool { return c.verb != "get" && c.verb != "list" }

// newScheme knows only the kinds that are needed here: the fake client goes through all of them at each write.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	scheme := newScheme(t)
	base := fake.NewClientBuilder().
		WithScheme(scheme).
		WithStatusSubresource(&v1alpha1.ReactorToken{}).
		WithTypeConverters(
			clientgoapply.NewTypeConverter(clientgoscheme.Scheme),
			applyconfiguration.NewTypeConverter(scheme),
			managedfields.NewDeducedTypeConverter(),
		).
		WithReturnManagedFields().
		WithGlobalResourceVersionCounter().
		Build()
	return &apiServer{WithWatch: interceptor.NewClient(base, whatTheFakeLeavesOut()), cacheLag: 20 * time.Millisecond}
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
			if token, ok := object.(*v1alpha1.ReactorToken); ok {
				before := &v1alpha1.ReactorToken{}
				if err := base.Get(ctx, client.ObjectKeyFromObject(token), before); err != nil {
					return err
				}
				if !equality.Semantic.DeepEqual(before.Spec, token.Spec) {
					token.Generation = before.Generation + 1
				}
			}
			return base.Update(ctx, object, options...)
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
			return ask("create", object, object.GetName(), func() error { return base.Create(ctx, object, options...) })
		},
		Delete: func(ctx context.Context, base client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			return ask("delete", object, object.GetName(), func() error { return base.Delete(ctx, object, options...) })
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
		s.written.Write(append(text, '\n'))
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

// writes counts what the operator changed, or tried to.
func (s *apiServer) writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, made := range s.calls {
		if made.writes() {
			count++
		}
	}
	return count
}

// errAway is what a call meets when the API server does not answer.
var errAway = errors.New("connection refused")

// forbidden refuses the writes of Secrets, as an admission policy or a quota does.
func forbidden(made call, do func() error) error {
	if made.kind != "Secret" || !made.writes() {
		return do()
	}
	return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, made.name, errors.New("a policy denies it"))
}

// secretIn is a Secret with one key.
func secretIn(namespace, name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{key: []byte(value)},
	}
}

// withoutStatus is an API server that does not take the status.
func withoutStatus(made call, do func() error) error {
	if made.verb == "update status" {
		return errAway
	}
	return do()
}
