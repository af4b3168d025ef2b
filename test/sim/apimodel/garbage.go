package apimodel

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// CollectGarbage does what the garbage collector of kube-controller-manager does, until nothing is left for it to do: it deletes the objects
// whose owners are all gone, and takes owners that are gone off the others.
func (s *Server) CollectGarbage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.collect() {
	}
}

// collect goes once through all objects that have owners. It reports whether it changed anything.
func (s *Server) collect() bool {
	changed := false
	for _, name := range slices.Sorted(maps.Keys(s.kinds)) {
		k := s.kinds[name]
		for _, object := range k.selected(selection{}) {
			if k.objects[client.ObjectKeyFromObject(object)] == object && len(object.GetOwnerReferences()) > 0 {
				before := s.version
				s.collectOne(k, object)
				changed = changed || s.version != before
			}
		}
	}
	return changed
}

func (s *Server) collectOne(k *kind, object client.Object) {
	var gone []types.UID
	for _, owner := range object.GetOwnerReferences() {
		if !s.exists(object.GetNamespace(), owner) {
			gone = append(gone, owner.UID)
		}
	}
	switch len(gone) {
	case 0:
	case len(object.GetOwnerReferences()):
		uid := object.GetUID()
		background := metav1.DeletePropagationBackground
		_ = s.delete(k, client.ObjectKeyFromObject(object), &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	}
}

// exists reports whether the owner is there. Those of kinds that are not served are taken to be.
func (s *Server) exists(namespace string, owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil || strings.TrimSpace(owner.Kind) == "" {
		return true
	}
	k, err := s.kindNamed(version.WithKind(owner.Kind))
	if err != nil {
		return true
	}
	found := k.objects[types.NamespacedName{Namespace: namespace, Name: owner.Name}]
	return found != nil && found.GetUID() == owner.UID
}
