package apimodel

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// defaultPod does what kubernetes/pkg/apis/core/v1 does to pods while they are decoded, as far as doc.go tells.
func defaultPod(object client.Object) {
	pod, _ := object.(*corev1.Pod)
	defaultPodSpec(&pod.Spec)
	setDefault(&pod.Spec.EnableServiceLinks, true)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			requestLimits(&containers[i].Resources)
		}
	}
}

// requestLimits requests what is limited, where nothing else is requested.
func requestLimits(resources *corev1.ResourceRequirements) {
	for name, limit := range resources.Limits {
		if resources.Requests == nil {
			resources.Requests = corev1.ResourceList{}
		}
		if _, requested := resources.Requests[name]; !requested {
			resources.Requests[name] = limit.DeepCopy()
		}
	}
}

func defaultPodSpec(spec *corev1.PodSpec) {
	setEmpty(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	setEmpty(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setEmpty(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setEmpty(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setDefault(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	setDefault(&spec.SecurityContext, corev1.PodSecurityContext{})
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			defaultContainer(&containers[i])
		}
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
}

func defaultContainer(container *corev1.Container) {
	setEmpty(&container.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setEmpty(&container.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	name, digest, _ := strings.Cut(container.Image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	if digest == "" && (!tagged || tag == "latest") {
		setEmpty(&container.ImagePullPolicy, corev1.PullAlways)
	}
	setEmpty(&container.ImagePullPolicy, corev1.PullIfNotPresent)
	for i := range container.Ports {
		setEmpty(&container.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range container.Env {
		if from := container.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			setEmpty(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe, container.StartupProbe} {
		if probe != nil {
			defaultProbe(probe)
		}
	}
}

func defaultProbe(probe *corev1.Probe) {
	setEmpty(&probe.TimeoutSeconds, 1)
	setEmpty(&probe.PeriodSeconds, 10)
	setEmpty(&probe.SuccessThreshold, 1)
	setEmpty(&probe.FailureThreshold, 3)
	if probe.HTTPGet != nil {
		setEmpty(&probe.HTTPGet.Path, "/")
		setEmpty(&probe.HTTPGet.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultVolume(volume *corev1.VolumeSource) {
	if *volume == (corev1.VolumeSource{}) {
		volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	const mode = 0o644
	switch {
	case volume.Secret != nil:
		setDefault(&volume.Secret.DefaultMode, mode)
	case volume.ConfigMap != nil:
		setDefault(&volume.ConfigMap.DefaultMode, mode)
	case volume.DownwardAPI != nil:
		setDefault(&volume.DownwardAPI.DefaultMode, mode)
	case volume.Projected != nil:
		setDefault(&volume.Projected.DefaultMode, mode)
		for i := range volume.Projected.Sources {
			if token := volume.Projected.Sources[i].ServiceAccountToken; token != nil {
				setDefault(&token.ExpirationSeconds, 3600)
			}
		}
	}
}

// admitPod does what the admission plugins ServiceAccount, DefaultTolerationSeconds and Priority do to a pod that is created; but it
// mounts no token of the service account.
func admitPod(created client.Object) {
	pod, _ := created.(*corev1.Pod)
	setEmpty(&pod.Spec.ServiceAccountName, "default")
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	setDefault(&pod.Spec.Priority, 0)
	setDefault(&pod.Spec.PreemptionPolicy, corev1.PreemptLowerPriority)
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		toleration := corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))}
		if !tolerates(pod.Spec.Tolerations, toleration) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration)
		}
	}
}

func tolerates(tolerations []corev1.Toleration, wanted corev1.Toleration) bool {
	for _, t := range tolerations {
		if (t.Key == wanted.Key || t.Key == "") && (t.Effect == wanted.Effect || t.Effect == "") {
			return true
		}
	}
	return false
}

// qosClass is what the requests and limits of all containers make a pod.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	class := corev1.PodQOSClass("")
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			one := qosOf(&containers[i].Resources)
			setEmpty(&class, one)
			if one != class {
				return corev1.PodQOSBurstable
			}
		}
	}
	setEmpty(&class, corev1.PodQOSBestEffort)
	return class
}

func qosOf(resources *corev1.ResourceRequirements) corev1.PodQOSClass {
	counted := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	guaranteed, some := true, false
	for _, name := range counted {
		request, limit := resources.Requests[name], resources.Limits[name]
		some = some || !isZero(request) || !isZero(limit)
		guaranteed = guaranteed && !isZero(limit) && request.Cmp(limit) == 0
	}
	switch {
	case guaranteed:
		return corev1.PodQOSGuaranteed
	case some:
		return corev1.PodQOSBurstable
	}
	return corev1.PodQOSBestEffort
}

func isZero(quantity resource.Quantity) bool { return quantity.IsZero() }
