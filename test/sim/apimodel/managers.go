package apimodel

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// newManager makes what keeps account of who owns which field of the objects of a kind, and merges applies. It is the code of the real
// API server, with the schemas of the generated apply configurations.
func (k *kind) newManager(
	scheme *runtime.Scheme, converter managedfields.TypeConverter, subresource string, reset []fieldpath.Path,
) *managedfields.FieldManager {
	sets := map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(k.gvk.GroupVersion().String()): fieldpath.NewSet(reset...)}
	filters := maps.Clone(fieldpath.NewExcludeFilterSetMap(sets))
	manager, err := managedfields.NewDefaultFieldManager(converter, scheme, defaulter(k.defaults), scheme, k.gvk, k.gvk.GroupVersion(), subresource, filters)
	if err != nil {
		panic(fmt.Sprintf("a field manager for %s: %v", k.gvk, err))
	}
	return manager
}

// defaulter makes the defaults of a kind a runtime.ObjectDefaulter.
type defaulter func(object client.Object)

func (d defaulter) Default(object runtime.Object) {
	if typed, ok := object.(client.Object); ok && d != nil {
		d(typed)
	}
}

// ownTimes puts the times of managed fields in order. They are written in whole seconds; and where nothing else has changed, they have not
// changed either (apiserver/pkg/endpoints/handlers/fieldmanager).
func (s *Server) ownTimes(changed, live client.Object) {
	entries := changed.GetManagedFields()
	for i := range entries {
		if entries[i].Time != nil {
			entries[i].Time = new(metav1.NewTime(entries[i].Time.Truncate(precision)))
		}
	}
	changed.SetManagedFields(entries)
	if live == nil || len(entries) == 0 || !sameButTimes(entries, live.GetManagedFields()) {
		return
	}
	changed.SetManagedFields(live.GetManagedFields())
	if !sameObject(changed, live) {
		changed.SetManagedFields(entries)
	}
}

func sameButTimes(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		x.Time, y.Time = nil, nil
		if !equality.Semantic.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

func sameObject(a, b client.Object) bool { return equality.Semantic.DeepEqual(a, b) }
