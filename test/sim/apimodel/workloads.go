package apimodel

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// workloadRules are the rules that Deployments, StatefulSets and DaemonSets share.
func workloadRules(defaults func(object client.Object)) rules {
	return rules{
		hasStatus: true,
		defaults:  defaults,
		prepareCreate: func(created client.Object, _ metav1.Time) {
			clearMember(created, "Status")
			created.SetGeneration(1)
		},
		prepareUpdate: func(changed, live client.Object) {
			keep(changed, live, "Status")
			if !equal(changed, live, "Spec") {
				changed.SetGeneration(live.GetGeneration() + 1)
			}
		},
		prepareStatus: func(changed, live client.Object) { keep(changed, live, "Spec") },
		resetByUpdate: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		resetByStatus: []fieldpath.Path{fieldpath.MakePathOrDie("spec")},
	}
}

// deploymentRules are those of kubernetes/pkg/registry/apps/deployment.
func deploymentRules() rules {
	r := workloadRules(defaultDeployment)
	r.prepareUpdate = func(changed, live client.Object) {
		keep(changed, live, "Status")
		if !equal(changed, live, "Spec") || !equal(changed, live, "Annotations") {
			changed.SetGeneration(live.GetGeneration() + 1)
		}
	}
	r.prepareStatus = func(changed, live client.Object) {
		keep(changed, live, "Spec")
		keep(changed, live, "Labels")
	}
	r.resetByStatus = append(r.resetByStatus, fieldpath.MakePathOrDie("metadata", "labels"))
	return r
}

func defaultDeployment(object client.Object) {
	deployment, _ := object.(*appsv1.Deployment)
	spec := &deployment.Spec
	setDefault(&spec.Replicas, 1)
	setDefault(&spec.RevisionHistoryLimit, 10)
	setDefault(&spec.ProgressDeadlineSeconds, 600)
	if spec.Strategy.Type == "" {
		spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if spec.Strategy.RollingUpdate == nil {
			spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		setDefault(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setDefault(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	defaultPodSpec(&spec.Template.Spec)
}

// statefulSetRules are those of kubernetes/pkg/registry/apps/statefulset.
func statefulSetRules() rules { return workloadRules(defaultStatefulSet) }

func defaultStatefulSet(object client.Object) {
	set, _ := object.(*appsv1.StatefulSet)
	spec := &set.Spec
	setDefault(&spec.Replicas, 1)
	setDefault(&spec.RevisionHistoryLimit, 10)
	setEmpty(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	setDefault(&spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	setEmpty(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setEmpty(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setEmpty(&spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		setDefault(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		setDefault(&spec.UpdateStrategy.RollingUpdate.Partition, 0)
		setDefault(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	defaultPodSpec(&spec.Template.Spec)
}

// daemonSetRules are those of kubernetes/pkg/registry/apps/daemonset. The generation of the pod template is a field of the internal type; in
// apps/v1 it is an annotation, which a reader of metadata does not get.
func daemonSetRules() rules {
	r := workloadRules(defaultDaemonSet)
	create, update := r.prepareCreate, r.prepareUpdate
	r.prepareCreate = func(created client.Object, now metav1.Time) {
		create(created, now)
		setTemplateGeneration(created, max(templateGeneration(created), 1))
	}
	r.prepareUpdate = func(changed, live client.Object) {
		generation := templateGeneration(live)
		after, _ := changed.(*appsv1.DaemonSet)
		before, _ := live.(*appsv1.DaemonSet)
		if !equality.Semantic.DeepEqual(after.Spec.Template, before.Spec.Template) {
			generation++
		}
		setTemplateGeneration(changed, generation)
		update(changed, live)
	}
	r.prepareStatus = func(changed, live client.Object) {
		keep(changed, live, "Spec")
		setTemplateGeneration(changed, templateGeneration(live))
	}
	r.metadataOnly = func(metadata client.Object) {
		annotations := metadata.GetAnnotations()
		delete(annotations, appsv1.DeprecatedTemplateGeneration)
		if len(annotations) == 0 {
			metadata.SetAnnotations(nil)
		}
	}
	return r
}

func defaultDaemonSet(object client.Object) {
	set, _ := object.(*appsv1.DaemonSet)
	spec := &set.Spec
	setDefault(&spec.RevisionHistoryLimit, 10)
	setEmpty(&spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setDefault(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setDefault(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setDefault(&spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setTemplateGeneration(set, templateGeneration(set))
	defaultPodSpec(&spec.Template.Spec)
}

func templateGeneration(object client.Object) int {
	generation, _ := strconv.Atoi(object.GetAnnotations()[appsv1.DeprecatedTemplateGeneration])
	return generation
}

func setTemplateGeneration(object client.Object, generation int) {
	annotations := maps.Clone(object.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.Itoa(generation)
	object.SetAnnotations(annotations)
}

// setDefault sets what was left out.
func setDefault[T any](value **T, byDefault T) {
	if *value == nil {
		*value = &byDefault
	}
}

// setEmpty sets what was left empty.
func setEmpty[T comparable](value *T, byDefault T) {
	var none T
	if *value == none {
		*value = byDefault
	}
}
