package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestWhichPodsNeedARefresh(t *testing.T) {
	annotated := func(id string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.TokenIDAnnotation, id) }
	}
	tests := []struct {
		name    string
		changes []func(*corev1.Pod)
		want    bool
	}{
		{"one that mounts the Secret", []func(*corev1.Pod){mounting("web")}, true},
		{"one that mounts it in a projection", []func(*corev1.Pod){projecting("web")}, true},
		{"one that mounts it and others", []func(*corev1.Pod){mounting("a"), projecting("b"), mounting("web")}, true},
		{"one with the annotation of another token", []func(*corev1.Pod){mounting("web"), annotated("token-0")}, true},
		{"one with the annotation of this token", []func(*corev1.Pod){mounting("web"), annotated("token-1")}, false},
		{"one that mounts another Secret", []func(*corev1.Pod){mounting("a"), projecting("b")}, false},
		{"one without volumes", nil, false},
		{"one that reads it from its environment", []func(*corev1.Pod){func(pod *corev1.Pod) {
			pod.Spec.Containers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}}}}
		}}, false},
		{"one that starts, and mounts the new token anyway", []func(*corev1.Pod){mounting("web"), inPhase(corev1.PodPending)}, false},
		{"one that has ended", []func(*corev1.Pod){mounting("web"), inPhase(corev1.PodFailed)}, false},
		{"one that is being deleted", []func(*corev1.Pod){mounting("web"), func(pod *corev1.Pod) {
			pod.DeletionTimestamp = new(metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)))
		}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := needsRefresh(podWith(test.changes...), "web", "token-1"); got != test.want {
				t.Errorf("needs a refresh: %v, want %v", got, test.want)
			}
		})
	}
}

func TestAnnotationPatch(t *testing.T) {
	for want, path := range map[string][]string{
		`{"metadata":{"annotations":{"reactor.inc/token-id":"token-1"}}}`:                       nil,
		`{"spec":{"template":{"metadata":{"annotations":{"reactor.inc/token-id":"token-1"}}}}}`: {"spec", "template"},
	} {
		if diff := cmp.Diff(want, string(annotationPatch("token-1", path...))); diff != "" {
			t.Errorf("patch (-want +got):\n%s", diff)
		}
	}
}

func podWith(changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func mounting(secret string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
	}
}

func projecting(secret string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		source := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{}, {Secret: source}}}}})
	}
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}
