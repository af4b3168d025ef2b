package apimodel

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// collector is the field manager of what the garbage collector writes.
const collector = "kube-controller-manager"

// CollectGarbage does what the garbage collector of kube-controller-manager does, until nothing is left for it to do: it deletes the objects
// whose owners are all gone, takes owners that are gone off the others, and ends the deletions that wait for dependents, or orphan them
// (kubernetes/pkg/controller/garbagecollector). It is not a request, and no hook sees it. It reports
// whether it changed an object.
func (s *Server) CollectGarbage() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := s.version
	for before := s.version - 1; before != s.version; {
		before = s.version
		for _, name := range slices.Sorted(maps.Keys(s.kinds)) {
			k := s.kinds[name]
			for _, object := range k.selected(selection{}) {
				if k.objects[client.ObjectKeyFromObject(object)] == object {
					s.collect(k, object)
				}
			}
		}
	}
	return s.version != began
}

// collect does what is due for one object.
func (s *Server) collect(k *kind, object client.Object) {
	switch dying := object.GetDeletionTimestamp() != nil; {
	case dying && has(object, metav1.FinalizerOrphanDependents):
		for _, of := range s.dependents(object) {
			s.disown(of.kind, of.object, object.GetUID())
		}
		s.take(k, object, metav1.FinalizerOrphanDependents)
	case dying && has(object, metav1.FinalizerDeleteDependents):
		for _, of := range s.dependents(object) {
			if of.object.GetDeletionTimestamp() == nil {
				s.judge(of.kind, of.object)
			}
		}
		if !slices.ContainsFunc(s.dependents(object), func(of dependent) bool { return of.blocks }) {
			s.take(k, object, metav1.FinalizerDeleteDependents)
		}
	case !dying && len(object.GetOwnerReferences()) > 0:
		s.judge(k, object)
	}
}

// judge decides by its owners what becomes of an object.
func (s *Server) judge(k *kind, object client.Object) {
	var gone, waiting []types.UID
	for _, reference := range object.GetOwnerReferences() {
		switch owner, known := s.owner(object.GetNamespace(), reference); {
		case !known:
		case owner == nil:
			gone = append(gone, reference.UID)
		case owner.GetDeletionTimestamp() != nil && has(owner, metav1.FinalizerDeleteDependents):
			waiting = append(waiting, reference.UID)
		}
	}
	how := metav1.DeletePropagationBackground
	switch left := len(object.GetOwnerReferences()) - len(gone) - len(waiting); {
	case left > 0 && len(gone)+len(waiting) == 0:
		return
	case left > 0:
		s.disown(k, object, append(gone, waiting...)...)
		return
	case len(waiting) > 0 && len(s.dependents(object)) > 0, has(object, metav1.FinalizerDeleteDependents):
		how = metav1.DeletePropagationForeground
	case has(object, metav1.FinalizerOrphanDependents):
		how = metav1.DeletePropagationOrphan
	}
	key := client.ObjectKeyFromObject(object)
	s.must(s.delete(k, key, &metav1.DeleteOptions{PropagationPolicy: &how}), k, key)
}

func has(object client.Object, finalizer string) bool {
	return slices.Contains(object.GetFinalizers(), finalizer)
}

// owner finds the owner that a reference names; nil when it is gone. Kinds that are not served are not known.
func (s *Server) owner(namespace string, reference metav1.OwnerReference) (owner client.Object, known bool) {
	version, err := schema.ParseGroupVersion(reference.APIVersion)
	if err != nil {
		return nil, false
	}
	k, err := s.kindNamed(version.WithKind(reference.Kind))
	if err != nil {
		return nil, false
	}
	owner = k.objects[types.NamespacedName{Namespace: namespace, Name: reference.Name}]
	if owner == nil || owner.GetUID() != reference.UID {
		return nil, true
	}
	return owner, true
}

// dependent is an object that another one owns.
type dependent struct {
	kind   *kind
	object client.Object
	blocks bool // the deletion of its owner
}

func (s *Server) dependents(owner client.Object) []dependent {
	var found []dependent
	for _, name := range slices.Sorted(maps.Keys(s.kinds)) {
		for _, object := range s.kinds[name].selected(selection{namespace: owner.GetNamespace()}) {
			for _, reference := range object.GetOwnerReferences() {
				if reference.UID == owner.GetUID() {
					blocks := reference.BlockOwnerDeletion != nil && *reference.BlockOwnerDeletion
					found = append(found, dependent{s.kinds[name], object, blocks})
				}
			}
		}
	}
	return found
}

// disown takes owners off an object.
func (s *Server) disown(k *kind, object client.Object, owners ...types.UID) {
	left := slices.DeleteFunc(slices.Clone(object.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return slices.Contains(owners, r.UID) })
	s.amend(k, object, "ownerReferences", left)
}

// take takes a finalizer off an object.
func (s *Server) take(k *kind, object client.Object, finalizer string) {
	s.amend(k, object, "finalizers", slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(name string) bool { return name == finalizer }))
}

// amend sets a member of an object's metadata.
func (s *Server) amend(k *kind, object client.Object, member string, value any) {
	key := client.ObjectKeyFromObject(object)
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{member: value}})
	s.must(err, k, key)
	_, err = s.patch(k, key, edit{how: types.MergePatchType, text: text, manager: collector})
	s.must(err, k, key)
}

// must fails when the collector cannot do what it is there for: its writes are none that the rules refuse.
func (s *Server) must(err error, k *kind, key client.ObjectKey) {
	if err != nil {
		panic(fmt.Sprintf("the garbage collector, at %s %s: %v", k.gvk.Kind, key, err))
	}
}
