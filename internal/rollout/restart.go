package rollout

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
)

// restart restarts the workloads of spec.restart by an annotation on their pod templates. The first token restarts nothing: it has just started
// the programs that waited for its Secret. What the API server refused is tried again every 15 minutes, and does not keep other workloads from
// being restarted. The error is of what is tried again soon.
func (s *step) restart(ctx context.Context) error {
	if len(s.in.Restart) == 0 || s.in.IsFirst {
		return nil
	}
	if !s.options.AllowRestart {
		s.report(notice.Warning("RestartNotAllowed", "Restart",
			"spec.restart is set, but this installation does not allow it: start the operator with --allow-restart, and give it the Role that goes with it"))
		return nil
	}
	if !s.in.Now.Before(s.progress.retryAt) {
		clear(s.progress.refused)
		s.progress.retryAt = s.in.Now.Add(refusedWait)
	}
	var failed error
	for _, reference := range s.in.Restart {
		if s.progress.restarted[reference] || s.progress.refused[reference] {
			continue
		}
		err := s.annotate(ctx, workload(s.in.Namespace, reference), annotationPatch(s.in.TokenID, "spec", "template"))
		switch {
		case isRefused(err):
			s.progress.refused[reference] = true
			s.reportRefused(err)
			continue
		case err != nil && !apierrors.IsNotFound(err): // a workload that does not exist starts with the new token when it is created
			failed = errors.Join(failed, fmt.Errorf("restarting %s %q: %w", reference.Kind, reference.Name, err))
			continue
		case err == nil:
			s.notices = append(s.notices, notice.Normal("Restarted", "Restart", "restarted %s %q for the new token", reference.Kind, reference.Name))
		}
		s.progress.restarted[reference] = true
	}
	return failed
}

func workload(namespace string, reference v1alpha1.WorkloadReference) client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: reference.Name}
	switch reference.Kind {
	case v1alpha1.KindStatefulSet:
		return &appsv1.StatefulSet{ObjectMeta: meta}
	case v1alpha1.KindDaemonSet:
		return &appsv1.DaemonSet{ObjectMeta: meta}
	case v1alpha1.KindDeployment:
		return &appsv1.Deployment{ObjectMeta: meta}
	default: // the API server admits no other
		return &appsv1.Deployment{ObjectMeta: meta}
	}
}
