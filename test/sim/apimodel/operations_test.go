package apimodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// operation is something that can be done on both sides. It draws nothing itself: what is random about it was drawn before.
type operation struct {
	text  string
	kind  string
	keeps bool // its result is remembered, for later writes of a stale object
	run   func(s *side) (runtime.Object, error)
}

var testKinds = []string{"Secret", "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReactorToken", "ReactorSession"}

// workloads are the kinds with a pod template, of which the pods are made.
var workloads = []string{"Deployment", "StatefulSet", "DaemonSet"}

var testNames = []string{"a", "b", "c"}

func gvkOf(kind string) schema.GroupVersionKind {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return appsv1.SchemeGroupVersion.WithKind(kind)
	case "ReactorToken", "ReactorSession":
		return v1alpha1.SchemeGroupVersion.WithKind(kind)
	}
	return corev1.SchemeGroupVersion.WithKind(kind)
}

func emptyOf(kind string) client.Object {
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	case "ReactorToken":
		return &v1alpha1.ReactorToken{}
	case "ReactorSession":
		return &v1alpha1.ReactorSession{}
	case "Pod":
		return &corev1.Pod{}
	}
	return &corev1.Secret{}
}

func emptyListOf(kind string) client.ObjectList {
	switch kind {
	case "Deployment":
		return &appsv1.DeploymentList{}
	case "StatefulSet":
		return &appsv1.StatefulSetList{}
	case "DaemonSet":
		return &appsv1.DaemonSetList{}
	case "ReactorToken":
		return &v1alpha1.ReactorTokenList{}
	case "ReactorSession":
		return &v1alpha1.ReactorSessionList{}
	case "Pod":
		return &corev1.PodList{}
	}
	return &corev1.SecretList{}
}

// testWatch is a watch that both sides have open all the time.
type testWatch struct {
	name, kind string
	list       client.ObjectList
	options    []client.ListOption
}

func testWatches() []testWatch {
	var all []testWatch
	for _, kind := range testKinds {
		all = append(all,
			testWatch{kind + "s", kind, emptyListOf(kind), nil},
			testWatch{kind + "s of team 1", kind, emptyListOf(kind), []client.ListOption{client.MatchingLabels{"team": "1"}}})
	}
	metadata := &metav1.PartialObjectMetadataList{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	return append(all,
		testWatch{"metadata of Secrets", "Secret", metadata, []client.ListOption{client.MatchingFieldsSelector{Selector: notHidden}}},
		testWatch{"Pods without a node", "Pod", &corev1.PodList{}, []client.ListOption{client.MatchingFields{"spec.nodeName": ""}}},
		testWatch{"ReactorTokens with a Secret", "ReactorToken", &v1alpha1.ReactorTokenList{}, []client.ListOption{client.MatchingFields{"status.secretName": "written"}}})
}

// draw draws an operation.
func draw(dice *rand.Rand) operation {
	kind, name := testKinds[dice.IntN(len(testKinds))], testNames[dice.IntN(len(testNames))]
	v := dice.IntN(1 << 20)
	choices := []struct {
		weight int
		made   func(kind, name string, v int) operation
	}{
		{16, createOperation}, {14, updateOperation}, {8, staleUpdateOperation}, {10, statusOperation}, {10, mergePatchOperation},
		{4, strategicPatchOperation}, {3, jsonPatchOperation}, {5, upgradeOperation}, {22, applyOperation}, {4, applyStatusOperation},
		{10, deleteOperation}, {6, finalizerOperation}, {5, bindOperation}, {4, readOperation}, {3, selectOperation}, {1, waitOperation},
	}
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	drawn := dice.IntN(sum)
	for _, c := range choices {
		if drawn -= c.weight; drawn < 0 {
			return c.made(kind, name, v)
		}
	}
	panic("the weights do not add up")
}

// ctx is that of all operations: they are short.
var ctx = context.Background()

// notHidden selects what the operator watches of the Secrets.
var notHidden = fields.OneTermNotEqualSelector("type", "example.com/hidden")

// pick takes one of several by a part of what was drawn.
func pick[T any](v *int, of ...T) T {
	picked := of[*v%len(of)]
	*v /= len(of)
	return picked
}

func (s *side) at(kind, name string) client.Object {
	object := emptyOf(kind)
	object.SetNamespace(s.namespace)
	object.SetName(name)
	return object
}

// fresh reads an object.
func (s *side) fresh(kind, name string) (client.Object, error) {
	object := emptyOf(kind)
	return object, s.api.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, object)
}

var errNotHeld = errors.New("nothing of it was read before")

// stale is an object as an earlier operation read or wrote it; the object may be gone, and another one there.
func (s *side) stale(kind, name string, v int) (client.Object, error) {
	held := s.held[kind+"/"+name]
	if len(held) == 0 {
		return nil, errNotHeld
	}
	return held[v%len(held)].DeepCopyObject().(client.Object), nil
}

func createOperation(kind, name string, v int) operation {
	text := fmt.Sprintf("create %s %s %d", kind, name, v)
	return operation{text, kind, true, func(s *side) (runtime.Object, error) {
		v := v
		object := s.at(kind, name)
		fill(object, &v)
		setMetadata(s, object, &v)
		generated := pick(&v, false, false, false, false, false, false, false, true)
		if generated {
			object.SetName("")
			object.SetGenerateName("generated-")
		}
		if pick(&v, 0, 0, 0, 0, 0, 1) == 1 {
			object.SetResourceVersion("1")
		}
		if err := s.api.Create(ctx, object, client.FieldOwner("creator")); err != nil {
			return nil, err
		}
		if generated {
			return object, s.api.Delete(ctx, object.DeepCopyObject().(client.Object), client.GracePeriodSeconds(0))
		}
		return object, nil
	}}
}

func updateOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("update %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		object, err := s.fresh(kind, name)
		if err != nil {
			return nil, err
		}
		if pick(&v, 0, 0, 0, 1) == 1 {
			object.SetResourceVersion("")
		}
		if pick(&v, 0, 0, 0, 0, 0, 1) == 1 {
			object.SetUID("")
		}
		manager := client.FieldOwner(pick(&v, "creator", "editor"))
		change(s, object, &v)
		return object, s.api.Update(ctx, object, manager)
	}}
}

func staleUpdateOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("update stale %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		object, err := s.stale(kind, name, pick(&v, 0, 1, 2, 3))
		if err != nil {
			return nil, err
		}
		if pick(&v, 0, 0, 1) == 1 {
			object.SetResourceVersion("")
		}
		if pick(&v, 0, 0, 1) == 1 {
			return object, writeStatus(s, object, &v)
		}
		change(s, object, &v)
		return object, s.api.Update(ctx, object, client.FieldOwner("editor"))
	}}
}

func statusOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("update status of %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		object, err := s.fresh(kind, name)
		if err != nil {
			return nil, err
		}
		return object, writeStatus(s, object, &v)
	}}
}

// writeStatus writes the status, and tries to change the rest by it.
func writeStatus(s *side, object client.Object, v *int) error {
	if _, none := object.(*corev1.Secret); none {
		return errNotHeld
	}
	changeStatus(object, v)
	if pick(v, 0, 0, 1) == 1 {
		change(s, object, v)
	}
	return s.api.Status().Update(ctx, object, client.FieldOwner("status"))
}

func mergePatchOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("merge patch %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		metadata := map[string]any{}
		switch pick(&v, "label", "annotation", "no label", "nothing") {
		case "label":
			metadata["labels"] = map[string]any{"team": pick(&v, "1", "2")}
		case "annotation":
			metadata["annotations"] = map[string]any{"note": pick(&v, "x", "y", "z")}
		case "no label":
			metadata["labels"] = map[string]any{"team": nil}
		}
		patch := map[string]any{"metadata": metadata}
		if slices.Contains(workloads, kind) && pick(&v, 0, 1) == 1 {
			patch["spec"] = map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"note": pick(&v, "x", "y")}}}}
		}
		if pick(&v, 0, 0, 1) == 1 {
			if held, err := s.stale(kind, name, v); err == nil {
				metadata["uid"], metadata["resourceVersion"] = held.GetUID(), held.GetResourceVersion()
			}
		}
		text, err := json.Marshal(patch)
		if err != nil {
			return nil, err
		}
		object := s.at(kind, name)
		return object, s.api.Patch(ctx, object, client.RawPatch(types.MergePatchType, text), client.FieldOwner(pick(&v, "creator", "patcher")))
	}}
}

func strategicPatchOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("strategic merge patch %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		patch := `{"metadata":{"finalizers":["example.com/hold"]}}`
		switch kind {
		case "Pod":
			patch = pick(&v, `{"spec":{"containers":[{"name":"main","image":"example.com/other:2"}]}}`, `{"spec":{"activeDeadlineSeconds":60}}`, patch)
		case "Deployment", "StatefulSet", "DaemonSet":
			patch = pick(&v, `{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"1"}]}]}}}}`, `{"spec":{"minReadySeconds":3}}`)
		}
		object := s.at(kind, name)
		return object, s.api.Patch(ctx, object, client.RawPatch(types.StrategicMergePatchType, []byte(patch)), client.FieldOwner("patcher"))
	}}
}

func jsonPatchOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("JSON patch %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		patch := pick(&v,
			`[{"op":"add","path":"/metadata/labels","value":{"team":"2"}}]`,
			`[{"op":"test","path":"/metadata/name","value":"nobody"}]`,
			`[{"op":"remove","path":"/metadata/labels"}]`)
		object := s.at(kind, name)
		return object, s.api.Patch(ctx, object, client.RawPatch(types.JSONPatchType, []byte(patch)), client.FieldOwner("patcher"))
	}}
}

// upgradeOperation passes what a manager owns by its updates to its applies.
func upgradeOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("upgrade the managed fields of %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		live, err := s.fresh(kind, name)
		if err != nil {
			return nil, err
		}
		patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New("creator"), "creator")
		if err != nil || len(patch) == 0 {
			return live, err
		}
		object := s.at(kind, name)
		return object, s.api.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner("creator"))
	}}
}

func applyOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("apply %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		manager := pick(&v, "creator", "applier")
		wanted := configuration(s, kind, name, &v)
		options := []client.ApplyOption{client.FieldOwner(manager)}
		if pick(&v, 0, 1) == 1 {
			options = append(options, client.ForceOwnership)
		}
		if held, err := s.stale(kind, name, v); err == nil && pick(&v, 0, 0, 1) == 1 {
			wanted.SetUID(held.GetUID())
			wanted.SetResourceVersion(held.GetResourceVersion())
		}
		if err := s.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), options...); err != nil {
			return nil, err
		}
		object := emptyOf(kind)
		return object, runtime.DefaultUnstructuredConverter.FromUnstructured(wanted.Object, object)
	}}
}

func applyStatusOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("apply status of %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		status := map[string]any{}
		switch kind {
		case "Secret":
			return nil, errNotHeld
		case "ReactorToken":
			status["secretName"] = pick(&v, "written", "other")
		case "Pod":
			status["reason"] = pick(&v, "This", "That")
		default:
			status["observedGeneration"] = int64(pick(&v, 1, 2))
		}
		wanted := identity(s, kind, name)
		wanted.Object["status"] = status
		options := []client.SubResourceApplyOption{client.FieldOwner("applier")}
		if pick(&v, 0, 1) == 1 {
			options = append(options, client.ForceOwnership)
		}
		if err := s.api.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), options...); err != nil {
			return nil, err
		}
		object := emptyOf(kind)
		return object, runtime.DefaultUnstructuredConverter.FromUnstructured(wanted.Object, object)
	}}
}

func deleteOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("delete %s %s %d", kind, name, v), kind, false, func(s *side) (runtime.Object, error) {
		v := v
		var options []client.DeleteOption
		if grace := pick(&v, -1, -1, 0, 0, 5, 100); grace >= 0 {
			options = append(options, client.GracePeriodSeconds(int64(grace)))
		}
		if how := pick(&v, "", "", metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan); how != "" {
			options = append(options, client.PropagationPolicy(how))
		}
		if held, err := s.stale(kind, name, pick(&v, 0, 1, 2, 3)); err == nil {
			uid, version := held.GetUID(), held.GetResourceVersion()
			switch pick(&v, "", "", "uid", "version") {
			case "uid":
				options = append(options, client.Preconditions{UID: &uid})
			case "version":
				options = append(options, client.Preconditions{UID: &uid, ResourceVersion: &version})
			}
		}
		time.Sleep(50 * time.Millisecond) // the collector has to know the dependents
		return nil, s.api.Delete(ctx, s.at(kind, name), options...)
	}}
}

func finalizerOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("finalizers of %s %s %d", kind, name, v), kind, true, func(s *side) (runtime.Object, error) {
		v := v
		wanted := pick(&v, []string{}, []string{}, []string{}, []string{"example.com/hold"}, []string{"example.com/hold", "example.com/other"})
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": wanted}})
		if err != nil {
			return nil, err
		}
		object := s.at(kind, name)
		return object, s.api.Patch(ctx, object, client.RawPatch(types.MergePatchType, text), client.FieldOwner("creator"))
	}}
}

func bindOperation(_, name string, v int) operation {
	return operation{fmt.Sprintf("bind Pod %s %d", name, v), "Pod", true, func(s *side) (runtime.Object, error) {
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
		if err := s.api.SubResource("binding").Create(ctx, s.at("Pod", name), binding); err != nil {
			return nil, err
		}
		return s.fresh("Pod", name)
	}}
}

func readOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("read %s %s %d", kind, name, v), kind, false, func(s *side) (runtime.Object, error) {
		v := v
		if pick(&v, 0, 1) == 1 {
			return s.fresh(kind, name)
		}
		metadata := &metav1.PartialObjectMetadata{}
		metadata.SetGroupVersionKind(gvkOf(kind))
		return metadata, s.api.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, metadata)
	}}
}

func selectOperation(kind, _ string, v int) operation { return listOperation(kind, v) }

func listOperation(kind string, v int) operation {
	return operation{fmt.Sprintf("list %ss %d", kind, v), kind, false, func(s *side) (runtime.Object, error) {
		v := v
		options := []client.ListOption{client.InNamespace(s.namespace)}
		switch pick(&v, "", "label", "name", "limit", "no such field") {
		case "label":
			options = append(options, client.MatchingLabels{"team": "1"})
		case "name":
			options = append(options, client.MatchingFields{"metadata.name": "a"})
		case "limit":
			options = append(options, client.Limit(2))
		case "no such field":
			options = append(options, client.MatchingFields{"spec.nothing": "a"})
		}
		list := emptyListOf(kind)
		return list, s.api.List(ctx, list, options...)
	}}
}

// waitOperation lets the second end: times are in whole seconds.
func waitOperation(kind, name string, v int) operation {
	return operation{fmt.Sprintf("wait %s %s %d", kind, name, v), kind, false, func(s *side) (runtime.Object, error) {
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		return s.fresh(kind, name)
	}}
}

// identity is the begin of what is applied.
func identity(s *side, kind, name string) *unstructured.Unstructured {
	wanted := &unstructured.Unstructured{Object: map[string]any{}}
	wanted.SetGroupVersionKind(gvkOf(kind))
	wanted.SetNamespace(s.namespace)
	wanted.SetName(name)
	return wanted
}

// configuration is what is applied: more or less of an object. Custom resources always get labels and annotations: see doc.go on what it
// leaves behind when an apply takes the last one.
func configuration(s *side, kind, name string, v *int) *unstructured.Unstructured {
	object := s.at(kind, name)
	fill(object, v)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(err)
	}
	wanted := &unstructured.Unstructured{Object: content}
	wanted.SetGroupVersionKind(gvkOf(kind))
	delete(wanted.Object, "status")
	custom := strings.HasPrefix(kind, "Reactor")
	if pick(v, 0, 1) == 1 || custom {
		wanted.SetLabels(map[string]string{"team": pick(v, "1", "2"), "applied": "yes"})
	}
	if pick(v, 0, 0, 1) == 1 || custom {
		wanted.SetAnnotations(map[string]string{"note": pick(v, "x", "y", "z")})
	}
	if pick(v, 0, 0, 0, 1) == 1 && !custom {
		delete(wanted.Object, "data")
	}
	return wanted
}

// setMetadata sets the metadata of an object that is created.
func setMetadata(s *side, object client.Object, v *int) {
	if pick(v, 0, 1) == 1 {
		object.SetLabels(map[string]string{"team": pick(v, "1", "2")})
	}
	if pick(v, 0, 0, 1) == 1 {
		object.SetFinalizers([]string{"example.com/hold"})
	}
	if pick(v, 0, 1) == 1 {
		object.SetOwnerReferences(owners(s, object, v))
	}
}

// owners are owners for an object, of the kinds that come before its own, so that there are no circles: one or two that were seen, which
// may be gone. They all block the deletion of their owner: with others it is a race between the workers of the real collector whether such a
// dependent is deleted while its owner is, or only after it.
func owners(s *side, of client.Object, v *int) []metav1.OwnerReference {
	order := []string{"ReactorSession", "ReactorToken", "Secret", "Pod"}
	rank := len(order)
	for i, kind := range order {
		if fmt.Sprintf("%T", emptyOf(kind)) == fmt.Sprintf("%T", of) {
			rank = i
		}
	}
	var all []metav1.OwnerReference
	for range pick(v, 1, 1, 2) {
		if rank == 0 {
			break
		}
		kind, name := order[*v%rank], pick(v, testNames...)
		held := s.held[kind+"/"+name]
		if len(held) == 0 || slices.ContainsFunc(all, func(r metav1.OwnerReference) bool { return r.UID == held[len(held)-1].GetUID() }) {
			continue
		}
		if owner, err := s.fresh(kind, name); err == nil && owner.GetDeletionTimestamp() != nil {
			continue // the real collector notices such a dependent only when it looks at the owner once more
		}
		gvk := gvkOf(kind)
		all = append(all, metav1.OwnerReference{APIVersion: gvk.GroupVersion().String(), Kind: kind, Name: name, UID: held[len(held)-1].GetUID(), BlockOwnerDeletion: new(true)})
	}
	return all
}

// change changes an object in one way or another.
func change(s *side, object client.Object, v *int) {
	switch pick(v, "labels", "annotations", "finalizers", "owners", "spec", "spec", "spec", "nothing", "much") {
	case "labels":
		object.SetLabels(pick(v, nil, map[string]string{"team": "1"}, map[string]string{"team": "2", "more": "yes"}))
	case "annotations":
		object.SetAnnotations(pick(v, nil, map[string]string{"note": "x"}, map[string]string{"note": "y"}))
	case "finalizers":
		object.SetFinalizers(pick(v, nil, []string{"example.com/hold"}))
	case "owners":
		object.SetOwnerReferences(owners(s, object, v))
	case "spec":
		fill(object, v)
	case "much":
		object.SetGeneration(99)
		object.SetCreationTimestamp(metav1.Unix(0, 0))
		object.SetLabels(map[string]string{"team": "2"})
		changeStatus(object, v)
	}
}

// fill sets the spec, or the data, of an object.
func fill(object client.Object, v *int) {
	switch o := object.(type) {
	case *corev1.Secret:
		o.Data = pick(v, nil, map[string][]byte{"jwt": []byte("1")}, map[string][]byte{"jwt": []byte("2"), "more": []byte("x")})
		o.Type = pick(v, o.Type, o.Type, corev1.SecretTypeOpaque, "example.com/hidden")
		o.StringData = pick(v, nil, nil, nil, map[string]string{"text": "3"})
		o.Immutable = pick(v, nil, nil, nil, nil, nil, nil, nil, new(true))
	case *corev1.Pod:
		fillPod(o, v)
	case *appsv1.Deployment:
		o.Spec.Replicas = pick(v, nil, new(int32(1)), new(int32(2)))
		o.Spec.Selector = fillTemplate(&o.Spec.Template, v)
	case *appsv1.StatefulSet:
		o.Spec.Replicas = pick(v, nil, new(int32(1)), new(int32(2)))
		o.Spec.ServiceName = "web"
		o.Spec.Selector = fillTemplate(&o.Spec.Template, v)
	case *appsv1.DaemonSet:
		o.Spec.MinReadySeconds = pick(v, int32(0), 1, 2)
		o.Spec.Selector = fillTemplate(&o.Spec.Template, v)
	case *v1alpha1.ReactorToken:
		o.Spec.APIKeySecretRef.Name = pick(v, "key", "other-key")
		o.Spec.Lifetime = pick(v, v1alpha1.Duration(""), "1h")
		o.Spec.Secret.Labels = pick(v, nil, map[string]v1alpha1.LabelValue{"a": "b"})
		o.Spec.Secret.AdditionalKeys = pick(v, nil, []v1alpha1.AdditionalKey{{Name: "env", Format: v1alpha1.FormatEnv}})
		o.Spec.Suspend = pick(v, nil, new(true), new(false))
	case *v1alpha1.ReactorSession:
		o.Spec.Model = "reactor/helios"
		o.Spec.APIKeySecretRef.Name = "key"
		o.Spec.MaxDuration = pick(v, v1alpha1.Duration(""), "1h")
		o.Spec.Suspend = pick(v, nil, new(true), new(false))
		o.Spec.Template.Labels = map[string]string{"a": pick(v, "b", "c")}
		o.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/session:1"}}
	}
}

// fillTemplate fills the pod template of a workload, and returns the selector for it.
func fillTemplate(template *corev1.PodTemplateSpec, v *int) *metav1.LabelSelector {
	labels := map[string]string{"app": "web"}
	template.Labels = labels
	template.Annotations = pick(v, nil, map[string]string{"note": "x"})
	template.Spec.Containers = []corev1.Container{{Name: "main", Image: pick(v, "example.com/web:1", "example.com/web")}}
	return &metav1.LabelSelector{MatchLabels: labels}
}

func fillPod(pod *corev1.Pod, v *int) {
	exists := pod.UID != ""
	if exists { // only some of it may change
		pod.Spec.Containers[0].Image = pick(v, "example.com/session:1", "example.com/session:2")
		pod.Spec.SchedulingGates = pick(v, nil, nil, []corev1.PodSchedulingGate{{Name: "example.com/gate"}})
		pod.Spec.ActiveDeadlineSeconds = pick(v, pod.Spec.ActiveDeadlineSeconds, new(int64(50)), new(int64(500)), nil)
		pod.Spec.NodeSelector = pick(v, pod.Spec.NodeSelector, pod.Spec.NodeSelector, map[string]string{"disk": "ssd"}, map[string]string{"disk": "hdd", "zone": "a"})
		pod.Spec.Hostname = pick(v, "", "", "", "", "host")
		return
	}
	pod.Spec = corev1.PodSpec{
		AutomountServiceAccountToken:  new(false), // or its name in a volume would be drawn at random
		RestartPolicy:                 pick(v, corev1.RestartPolicyNever, "", corev1.RestartPolicyOnFailure),
		TerminationGracePeriodSeconds: pick(v, nil, new(int64(0)), new(int64(10))),
		Containers: []corev1.Container{{
			Name: "main", Image: pick(v, "example.com/session:1", "example.com/session", "example.com:5000/session@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
			Env:          []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}, Key: "key"}}}},
			VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/token", ReadOnly: true}},
		}},
		Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "a"}}}},
	}
	pod.Spec.SchedulingGates = pick(v, nil, nil, nil, []corev1.PodSchedulingGate{{Name: "example.com/gate"}})
	pod.Spec.ActiveDeadlineSeconds = pick(v, nil, new(int64(100)))
	pod.Spec.Containers[0].Ports = pick(v, nil, []corev1.ContainerPort{{ContainerPort: 80}})
	some := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.5"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	pod.Spec.Containers[0].Resources = pick(v, corev1.ResourceRequirements{}, corev1.ResourceRequirements{Limits: some}, corev1.ResourceRequirements{Requests: some})
}

func changeStatus(object client.Object, v *int) {
	now := metav1.Now()
	switch o := object.(type) {
	case *corev1.Pod:
		o.Status.Phase = pick(v, corev1.PodPending, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed)
		state := pick(v, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, StartedAt: now, FinishedAt: now}})
		o.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: state, Image: "example.com/session:1"}}
		if pick(v, 0, 0, 1) == 1 {
			o.Status.Conditions = append(o.Status.Conditions, corev1.PodCondition{Type: "example.com/ready", Status: corev1.ConditionTrue})
		}
	case *appsv1.Deployment:
		o.Status.Replicas = pick(v, int32(0), 1, 2)
		o.Status.ObservedGeneration = 1
	case *appsv1.StatefulSet:
		o.Status.Replicas = pick(v, int32(0), 1, 2)
		o.Status.ObservedGeneration = 1
	case *appsv1.DaemonSet:
		o.Status.NumberReady = pick(v, int32(0), 1, 2)
		o.Status.ObservedGeneration = 1
	case *v1alpha1.ReactorToken:
		o.Status.SecretName = pick(v, "", "written", "other")
		o.Status.ObservedGeneration = pick(v, o.Generation, 1)
		if pick(v, 0, 1) == 1 {
			o.Status.ExpirationTime = &now
			o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Because", LastTransitionTime: now}}
		}
	case *v1alpha1.ReactorSession:
		o.Status.ObservedGeneration = pick(v, o.Generation, 1)
		if pick(v, 0, 1) == 1 {
			o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Because", LastTransitionTime: now}}
		}
	}
}
