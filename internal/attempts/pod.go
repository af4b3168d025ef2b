package attempts

import (
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

const (
	// TokenVolume and tokenFolder are where the token of an attempt is mounted. Never by subPath: such a file does not change.
	TokenVolume = "reactor-token"
	tokenFolder = "/var/run/secrets/reactor"
	tokenFile   = tokenFolder + "/jwt"
)

// BuildPod returns the pod of an attempt.
func BuildPod(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, attempt *v1alpha1.SessionAttempt, with Settings) *corev1.Pod {
	template := session.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: session.Namespace, Name: attempt.PodName,
			Labels: template.Labels, Annotations: template.Annotations,
			Finalizers:      append(slices.Clone(template.Finalizers), TrackingFinalizer),
			OwnerReferences: []metav1.OwnerReference{ControllerReference(session)},
		},
		Spec: template.Spec,
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	maps.Copy(pod.Labels, Labels(session, attempt.Number))
	pod.Annotations[SessionAnnotation] = session.Name
	pod.Annotations[outcome.ContainerAnnotation] = session.Spec.SessionContainer()
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if backstop := backstopOf(&session.Spec, status); backstop != nil {
		pod.Spec.ActiveDeadlineSeconds, pod.Annotations[outcome.BackstopAnnotation] = backstop, "maxDuration"
	}
	if ExpectsGates(&session.Spec.Template) {
		pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: TokenGate})
		pod.Annotations[GatedAnnotation] = "true"
	}
	harden(&pod.Spec)
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == session.Spec.SessionContainer() {
			addCredential(&pod.Spec, &pod.Spec.Containers[i], session, attempt, with)
		}
	}
	return pod
}

// MissingMetadata are the labels and annotations that the pod of an attempt should have and does not: the labels by which the operator finds it, if
// another client removed them, and the annotation of a pod to which a webhook, such as Kueue's, added a gate. Nil if it has all, or does not exist.
func MissingMetadata(session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt, pod *corev1.Pod) map[string]any {
	if attempt == nil || pod == nil {
		return nil
	}
	missing := map[string]any{}
	for name, value := range Labels(session, attempt.Number) {
		if pod.Labels[name] != value {
			missing["labels"] = Labels(session, attempt.Number)
		}
	}
	if IsGated(pod) && pod.Annotations[GatedAnnotation] == "" {
		missing["annotations"] = map[string]string{GatedAnnotation: "true"}
	}
	if len(missing) == 0 {
		return nil
	}
	return missing
}

// backstopOf is how long the kubelet lets the pod run if the operator does not run, in seconds; nil if the session has no limit, or the template has
// a shorter one. It counts from the pod's start, and includes the pull of its image.
func backstopOf(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) *int64 {
	left, own := Remaining(spec, status), spec.Template.Spec.ActiveDeadlineSeconds
	backstop := int64((left + spec.EffectiveStartDeadline()) / time.Second)
	if left == 0 || own != nil && *own <= backstop {
		return nil
	}
	return &backstop
}

// harden sets security settings that affect no program, if the template does not set them. It does not set runAsNonRoot, and drops no capabilities:
// many images run as root, and would not start.
func harden(spec *corev1.PodSpec) {
	if spec.AutomountServiceAccountToken == nil {
		spec.AutomountServiceAccountToken = new(false)
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.SecurityContext.SeccompProfile == nil {
		spec.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			forbidEscalation(&containers[i])
		}
	}
}

// forbidEscalation does not change a container that is privileged or has CAP_SYS_ADMIN: the API server refuses the combination.
func forbidEscalation(container *corev1.Container) {
	if container.SecurityContext == nil {
		container.SecurityContext = &corev1.SecurityContext{}
	}
	context := container.SecurityContext
	admin := context.Capabilities != nil && slices.ContainsFunc(context.Capabilities.Add, func(c corev1.Capability) bool {
		return c == "SYS_ADMIN" || c == "CAP_SYS_ADMIN"
	})
	if context.AllowPrivilegeEscalation == nil && (context.Privileged == nil || !*context.Privileged) && !admin {
		context.AllowPrivilegeEscalation = new(false)
	}
}

// addCredential gives the session's container its environment variables and its credential.
func addCredential(spec *corev1.PodSpec, container *corev1.Container, session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt, with Settings) {
	theirs := container.Env
	container.Env = nil
	defer func() { container.Env = append(container.Env, theirs...) }() // last, so that they may refer to ours
	set := func(name, value string) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: value})
	}
	set("REACTOR_MODEL", string(session.Spec.Model))
	set("REACTOR_API_URL", with.APIURL)
	set("REACTOR_SESSION_NAME", session.Name)
	set("REACTOR_ATTEMPT", strconv.FormatInt(int64(attempt.Number), 10))
	if !session.Spec.UsesTokenFile() {
		container.Env = append(container.Env, apiKeyVariable(session))
		return
	}
	set("REACTOR_JWT_FILE", tokenFile)
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: TokenVolume, MountPath: tokenFolder, ReadOnly: true})
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: TokenVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: attempt.TokenName},
	}})
}

// apiKeyVariable is how the program gets the API key under APIKeyEnv.
func apiKeyVariable(session *v1alpha1.ReactorSession) corev1.EnvVar {
	return corev1.EnvVar{Name: "REACTOR_API_KEY", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: session.Spec.APIKeySecretRef.Name},
			Key:                  session.Spec.APIKeySecretRef.EffectiveKey(),
		},
	}}
}

// Settings are the settings of the installation that the desired objects depend on.
type Settings struct {
	APIURL         string
	PromptDelivery bool
}

// HasOtherKey reports whether the pod gets another API key, under APIKeyEnv, than the one of the spec. A webhook may have replaced the reference
// by something else, such as a path in a vault. That cannot be compared, and the next pod would get it, too.
func HasOtherKey(session *v1alpha1.ReactorSession, pod *corev1.Pod) bool {
	if session.Spec.UsesTokenFile() {
		return false
	}
	wanted := apiKeyVariable(session)
	for i := range pod.Spec.Containers {
		if container := &pod.Spec.Containers[i]; container.Name == pod.Annotations[outcome.ContainerAnnotation] {
			return slices.ContainsFunc(container.Env, func(has corev1.EnvVar) bool {
				return has.Name == wanted.Name && has.ValueFrom != nil && has.ValueFrom.SecretKeyRef != nil &&
					(has.ValueFrom.SecretKeyRef.Name != wanted.ValueFrom.SecretKeyRef.Name || has.ValueFrom.SecretKeyRef.Key != wanted.ValueFrom.SecretKeyRef.Key)
			})
		}
	}
	return false
}
