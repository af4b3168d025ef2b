package apimodel

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// deploymentRules are those of kubernetes/pkg/registry/apps/deployment.
func deploymentRules() rules {
	return rules{
		hasStatus: true,
		defaults:  defaultDeployment,
		prepareCreate: func(created client.Object, _ metav1.Time) {
			clearMember(created, "Status")
			created.SetGeneration(1)
		},
		prepareUpdate: func(changed, live client.Object) {
			keep(changed, live, "Status")
			if !equal(changed, live, "Spec") || !equal(changed, live, "Annotations") {
				changed.SetGeneration(live.GetGeneration() + 1)
			}
		},
		prepareStatus: func(changed, live client.Object) {
			keep(changed, live, "Spec")
			keep(changed, live, "Labels")
		},
		resetByUpdate: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		resetByStatus: []fieldpath.Path{fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata", "labels")},
	}
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
