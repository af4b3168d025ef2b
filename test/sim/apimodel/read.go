package apimodel

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// selection is which objects of a kind are listed or watched.
type selection struct {
	namespace string // empty: all
	label     labels.Selector
	field     fields.Selector
}

// check refuses selectors by fields that the kind has not.
func (k *kind) check(wanted selection) error {
	if wanted.field == nil {
		return nil
	}
	known := k.fieldsOf(k.example)
	for _, requirement := range wanted.field.Requirements() {
		if _, ok := known[requirement.Field]; !ok {
			return apierrors.NewBadRequest("field label not supported: " + requirement.Field)
		}
	}
	return nil
}

func (k *kind) fieldsOf(object client.Object) fields.Set {
	set := fields.Set{}
	if k.fields != nil {
		set = k.fields(object)
	}
	set["metadata.name"], set["metadata.namespace"] = object.GetName(), object.GetNamespace()
	return set
}

func (k *kind) selects(wanted selection, object client.Object) bool {
	return (wanted.namespace == "" || wanted.namespace == object.GetNamespace()) &&
		(wanted.label == nil || wanted.label.Matches(labels.Set(object.GetLabels()))) &&
		(wanted.field == nil || wanted.field.Empty() || wanted.field.Matches(k.fieldsOf(object)))
}

// selected are the objects that are selected, in the order of their keys.
func (k *kind) selected(wanted selection) []client.Object {
	byKey := func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	}
	var found []client.Object
	for _, key := range slices.SortedFunc(maps.Keys(k.objects), byKey) {
		if object := k.objects[key]; k.selects(wanted, object) {
			found = append(found, object)
		}
	}
	return found
}

// page is a part of a list.
type page struct {
	items []client.Object
	metav1.ListMeta
}

// list lists. A list in pages goes on with the objects as they are then: unlike the real one it keeps no old versions.
func (s *Server) list(k *kind, wanted selection, limit int64, from string) (page, error) {
	if err := k.check(wanted); err != nil {
		return page{}, err
	}
	items := k.selected(wanted)
	if from != "" {
		after, err := base64.RawURLEncoding.DecodeString(from)
		if err != nil {
			return page{}, apierrors.NewBadRequest("continue key is not valid")
		}
		items = slices.DeleteFunc(items, func(object client.Object) bool { return position(object) <= string(after) })
	}
	listed := page{items: items, ListMeta: metav1.ListMeta{ResourceVersion: versionText(max(s.version, 1))}}
	if rest := int64(len(items)) - limit; limit > 0 && rest > 0 {
		listed.items = items[:limit]
		listed.Continue = base64.RawURLEncoding.EncodeToString([]byte(position(items[limit-1])))
		if (wanted.label == nil || wanted.label.Empty()) && (wanted.field == nil || wanted.field.Empty()) {
			listed.RemainingItemCount = &rest
		}
	}
	return listed, nil
}

func position(object client.Object) string { return object.GetNamespace() + "\x00" + object.GetName() }

// fill writes a page into a list.
func (k *kind) fill(into client.ObjectList, listed page) error {
	items := make([]runtime.Object, 0, len(listed.items))
	_, metadataOnly := into.(*metav1.PartialObjectMetadataList)
	for _, object := range listed.items {
		items = append(items, k.answer(object, metadataOnly))
	}
	if err := meta.SetList(into, items); err != nil {
		return fmt.Errorf("a list of %s: %w", k.gvk.Kind, err)
	}
	into.SetResourceVersion(listed.ResourceVersion)
	into.SetContinue(listed.Continue)
	into.SetRemainingItemCount(listed.RemainingItemCount)
	return nil
}

// answer is what a client gets of an object: a copy. As with the real client, only metadata tells of which kind it is.
func (k *kind) answer(object client.Object, metadataOnly bool) runtime.Object {
	if metadataOnly {
		return partial(k, object)
	}
	answered := object.DeepCopyObject()
	answered.GetObjectKind().SetGroupVersionKind(noKind)
	return answered
}

// kindOfList is the kind of a list's items.
func (s *Server) kindOfList(list client.ObjectList) (*kind, error) {
	gvk, err := s.groupVersionKindFor(list)
	if err != nil {
		return nil, err
	}
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	return s.kindNamed(gvk)
}
