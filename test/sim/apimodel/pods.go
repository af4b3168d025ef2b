package apimodel

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// podRules are those of kubernetes/pkg/registry/core/pod.
func podRules() rules {
	return rules{
		hasStatus:     true,
		defaults:      defaultPod,
		admit:         admitPod,
		prepareCreate: preparePod,
		prepareUpdate: preparePodUpdate,
		prepareStatus: preparePodStatus,
		checkUpdate:   checkPodUpdate,
		checkStatus:   checkPodStatus,
		grace:         gracePeriod,
		fields:        podFields,
		resetByUpdate: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		resetByStatus: []fieldpath.Path{
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
		},
	}
}

func podFields(object client.Object) fields.Set {
	pod, _ := object.(*corev1.Pod)
	return fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             pod.Status.PodIP,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

// preparePod gives a pod the status that every one begins with.
func preparePod(created client.Object, now metav1.Time) {
	pod, _ := created.(*corev1.Pod)
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, LastTransitionTime: now,
			Reason: corev1.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

func preparePodUpdate(changed, live client.Object) {
	keep(changed, live, "Status")
	if !equal(changed, live, "Spec") {
		changed.SetGeneration(live.GetGeneration() + 1)
	}
}

func preparePodStatus(changed, live client.Object) {
	keep(changed, live, "Spec")
	changed.SetDeletionTimestamp(nil)
	keep(changed, live, "OwnerReferences")
	after, _ := changed.(*corev1.Pod)
	before, _ := live.(*corev1.Pod)
	setEmpty(&after.Status.QOSClass, before.Status.QOSClass)
	setEmpty(&after.Status.ObservedGeneration, before.Status.ObservedGeneration)
	for i := range after.Status.Conditions {
		condition := &after.Status.Conditions[i]
		if at := slices.IndexFunc(before.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == condition.Type }); at >= 0 {
			setEmpty(&condition.ObservedGeneration, before.Status.Conditions[at].ObservedGeneration)
		}
	}
}

// checkPodUpdate lets only those members of a pod's spec change that may.
func checkPodUpdate(changed, live client.Object) field.ErrorList {
	after, _ := changed.(*corev1.Pod)
	before, _ := live.(*corev1.Pod)
	at := field.NewPath("spec")
	if len(after.Spec.Containers) != len(before.Spec.Containers) || len(after.Spec.InitContainers) != len(before.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(at.Child("containers"), "pod updates may not add or remove containers")}
	}
	wrong := checkDeadline(after.Spec.ActiveDeadlineSeconds, before.Spec.ActiveDeadlineSeconds, at.Child("activeDeadlineSeconds"))
	for _, gate := range after.Spec.SchedulingGates {
		if !slices.Contains(before.Spec.SchedulingGates, gate) {
			wrong = append(wrong, field.Forbidden(at.Child("schedulingGates"), "only deletion is allowed, but found new scheduling gate '"+gate.Name+"'"))
		}
	}
	wrong = append(wrong, checkTolerations(after.Spec.Tolerations, before.Spec.Tolerations, at.Child("tolerations"))...)
	rest := after.Spec.DeepCopy()
	if len(before.Spec.SchedulingGates) > 0 {
		wrong = append(wrong, checkNodeSelector(after.Spec.NodeSelector, before.Spec.NodeSelector, at.Child("nodeSelector"))...)
		rest.NodeSelector = before.Spec.NodeSelector
	}
	rest.ActiveDeadlineSeconds, rest.SchedulingGates, rest.Tolerations = before.Spec.ActiveDeadlineSeconds, before.Spec.SchedulingGates, before.Spec.Tolerations
	for i := range rest.Containers {
		rest.Containers[i].Image = before.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = before.Spec.InitContainers[i].Image
	}
	if !equality.Semantic.DeepEqual(*rest, before.Spec) {
		wrong = append(wrong, field.Forbidden(at, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"+
			"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.schedulingGates` (only deletions)"))
	}
	return wrong
}

func checkDeadline(after, before *int64, at *field.Path) field.ErrorList {
	switch {
	case after == nil && before != nil:
		return field.ErrorList{field.Invalid(at, after, "must not update from a positive integer to nil value")}
	case after == nil:
		return nil
	case *after < 0 || *after > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, *after, "must be between 0 and 2147483647, inclusive")}
	case before != nil && *before < *after:
		return field.ErrorList{field.Invalid(at, *after, "must be less than or equal to previous value")}
	}
	return nil
}

// checkTolerations lets tolerations be added, and stay for another time.
func checkTolerations(after, before []corev1.Toleration, at *field.Path) field.ErrorList {
	for _, old := range before {
		if !slices.ContainsFunc(after, func(t corev1.Toleration) bool {
			t.TolerationSeconds = old.TolerationSeconds
			return reflect.DeepEqual(t, old)
		}) {
			return field.ErrorList{field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// checkNodeSelector allows additions.
func checkNodeSelector(after, before map[string]string, at *field.Path) field.ErrorList {
	for key, old := range before {
		if value, kept := after[key]; !kept || value != old {
			return field.ErrorList{field.Invalid(at, after, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")}
		}
	}
	return nil
}

// checkPodStatus keeps a container from running again that is not to be restarted.
func checkPodStatus(changed, live client.Object) field.ErrorList {
	after, _ := changed.(*corev1.Pod)
	before, _ := live.(*corev1.Pod)
	at := field.NewPath("status")
	var wrong field.ErrorList
	if after.Status.QOSClass != before.Status.QOSClass {
		wrong = append(wrong, field.Invalid(at.Child("qosClass"), after.Status.QOSClass, "field is immutable"))
	}
	for i, old := range before.Status.ContainerStatuses {
		ended := old.State.Terminated
		if ended == nil || before.Spec.RestartPolicy == corev1.RestartPolicyAlways ||
			before.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0 {
			continue
		}
		if slices.ContainsFunc(after.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == old.Name && c.State.Terminated == nil }) {
			wrong = append(wrong, field.Forbidden(at.Child("containerStatuses").Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return wrong
}

// gracePeriod is how long a pod gets to end, in seconds: nothing when it never began, or has ended.
func gracePeriod(object client.Object, asked *int64) int64 {
	pod, _ := object.(*corev1.Pod)
	switch {
	case pod.Spec.NodeName == "", pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		return 0
	case asked != nil:
		return *asked
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return 0
}

// bind puts a pod on a node, as the scheduler does. Like the real one it owns nothing by that, and does not count it as a change of the
// spec.
func (s *Server) bind(k *kind, key client.ObjectKey, binding *corev1.Binding) error {
	live, err := s.live(k, key)
	if err != nil {
		return err
	}
	pod, _ := live.DeepCopyObject().(*corev1.Pod)
	if binding.Name != "" && binding.Name != key.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	switch {
	case binding.UID != "" && binding.UID != pod.UID, binding.ResourceVersion != "" && binding.ResourceVersion != pod.ResourceVersion:
		err = fmt.Errorf("pod %s is another one", pod.Name)
	case pod.DeletionTimestamp != nil:
		err = fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		err = fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) != 0:
		err = fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	if err != nil {
		conflict := k.resource
		conflict.Resource += "/binding"
		return apierrors.NewConflict(conflict, key.Name, err)
	}
	pod.Spec.NodeName = binding.Target.Name
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: s.now()}
	of := func(c corev1.PodCondition) bool { return c.Type == scheduled.Type }
	if at := slices.IndexFunc(pod.Status.Conditions, of); at >= 0 {
		pod.Status.Conditions[at] = scheduled
	} else {
		pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
	}
	s.put(k, pod)
	return nil
}
