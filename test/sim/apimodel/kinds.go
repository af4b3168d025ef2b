package apimodel

import (
	"errors"
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoapply "k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/api/v1alpha1/applyconfiguration"
)

// kind is a kind of objects that is served, with the objects of it.
type kind struct {
	shelf
	rules

	gvk      schema.GroupVersionKind
	resource schema.GroupResource
	example  client.Object                          // an empty one
	managers map[string]*managedfields.FieldManager // by subresource
}

// rules are how a kind differs from others. The functions that are nil do nothing. Those that prepare come before those that check.
type rules struct {
	custom    bool // a CRD: no strategic merge patch, and no update without a resourceVersion
	hasStatus bool // the subresource

	defaults      func(object client.Object)  // as part of decoding: whoever writes owns them
	admit         func(created client.Object) // admission plugins: nobody owns what they set
	prepareCreate func(created client.Object, now metav1.Time)
	prepareUpdate func(changed, live client.Object)
	prepareStatus func(changed, live client.Object)
	checkUpdate   func(changed, live client.Object) field.ErrorList
	checkStatus   func(changed, live client.Object) field.ErrorList
	grace         func(object client.Object, asked *int64) int64 // nil: the kind knows no graceful deletion
	fields        func(object client.Object) fields.Set          // that a selector may name, besides those of metadata

	metadataOnly func(metadata client.Object) // changes what a reader of metadata gets

	// What an update, or one of the status, does not change, and so nobody owns by it.
	resetByUpdate, resetByStatus []fieldpath.Path
}

// newScheme knows the kinds that are served, and those next to them.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		panic(err) // the Go types are wrong
	}
	return scheme
}

// servedKinds are the kinds that this model knows the rules of.
func servedKinds(scheme *runtime.Scheme) []*kind {
	builtIn, custom := clientgoapply.NewTypeConverter(scheme), applyconfiguration.NewTypeConverter(scheme)
	return []*kind{
		newKind(scheme, &corev1.Secret{}, "secrets", builtIn, secretRules()),
		newKind(scheme, &corev1.Pod{}, "pods", builtIn, podRules()),
		newKind(scheme, &appsv1.Deployment{}, "deployments", builtIn, deploymentRules()),
		newKind(scheme, &appsv1.StatefulSet{}, "statefulsets", builtIn, statefulSetRules()),
		newKind(scheme, &appsv1.DaemonSet{}, "daemonsets", builtIn, daemonSetRules()),
		newKind(scheme, &v1alpha1.ReactorToken{}, "reactortokens", custom, tokenRules()),
		newKind(scheme, &v1alpha1.ReactorSession{}, "reactorsessions", custom, sessionRules()),
	}
}

func newKind(scheme *runtime.Scheme, of client.Object, resource string, converter managedfields.TypeConverter, r rules) *kind {
	gvk, err := apiutil.GVKForObject(of, scheme)
	if err != nil {
		panic(fmt.Sprintf("the scheme does not know %T: %v", of, err))
	}
	k := &kind{
		example: of, rules: r, gvk: gvk, resource: schema.GroupResource{Group: gvk.Group, Resource: resource},
		shelf: shelf{objects: map[types.NamespacedName]client.Object{}, watchers: map[*watcher]struct{}{}},
	}
	k.managers = map[string]*managedfields.FieldManager{"": k.newManager(scheme, converter, "", r.resetByUpdate)}
	if r.hasStatus {
		k.managers[statusSubresource] = k.newManager(scheme, converter, statusSubresource, r.resetByStatus)
	}
	return k
}

const statusSubresource = "status"

// newObject makes an object of the kind.
func (s *Server) newObject(k *kind) (client.Object, error) {
	object, err := s.scheme.New(k.gvk)
	if err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(k.gvk)
	typed, ok := object.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T has no metadata", object)
	}
	return typed, nil
}

// errUnknownKind is the error for kinds that no rules are known of.
var errUnknownKind = errors.New("the model does not serve this kind")

func (s *Server) kindNamed(gvk schema.GroupVersionKind) (*kind, error) {
	k := s.kinds[gvk.Kind]
	if k == nil || k.gvk != gvk {
		return nil, fmt.Errorf("%w: %s", errUnknownKind, gvk)
	}
	return k, nil
}

// kindOf is the kind of an object, or of what stands for one.
func (s *Server) kindOf(object runtime.Object) (*kind, error) {
	gvk, err := apiutil.GVKForObject(object, s.scheme)
	if err != nil {
		return nil, err
	}
	return s.kindNamed(gvk)
}

// member is a member of an object's struct, such as Spec: all kinds have the same, and no interface for them.
func member(object client.Object, name string) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName(name)
}

// keep takes a member over from the live object.
func keep(changed, live client.Object, name string) { member(changed, name).Set(member(live, name)) }

// clear empties a member.
func clearMember(object client.Object, name string) { member(object, name).SetZero() }

func equal(a, b client.Object, name string) bool {
	return equality.Semantic.DeepEqual(member(a, name).Interface(), member(b, name).Interface())
}
