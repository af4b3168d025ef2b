package reactorsession

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

const (
	// tokenVolume and tokenFolder are where the token of an attempt is mounted. Never by subPath: such a file does not change.
	tokenVolume = "reactor-token"
	tokenFolder = "/var/run/secrets/reactor"
	tokenFile   = tokenFolder + "/jwt"
)

// ours are the environment variables that the operator sets in the session's container.
var ours = []string{"REACTOR_MODEL", "REACTOR_API_URL", "REACTOR_SESSION_NAME", "REACTOR_ATTEMPT", "REACTOR_JWT_FILE", "REACTOR_API_KEY"}

// checkTemplate says why a template cannot be run as a session, and what to write instead; empty when it can. CEL cannot afford these
// rules: a pod template has no bounds.
func checkTemplate(spec *v1alpha1.ReactorSessionSpec) string {
	pod := &spec.Template.Spec
	at := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == spec.SessionContainer() })
	switch {
	case len(pod.Containers) == 0:
		return "spec.template has no containers: add the one that runs the session"
	case at < 0:
		return fmt.Sprintf("spec.container is %q, and spec.template has no container of that name", spec.Container)
	case pod.RestartPolicy != "":
		return "spec.template.spec.restartPolicy must be left out: each attempt is a new pod, and spec.restartPolicy says when another one follows"
	case slices.ContainsFunc(pod.Containers, restartsInPlace), slices.ContainsFunc(pod.InitContainers, hasRestartRules):
		return "restartPolicy of a container, and restartPolicyRules, must be left out of spec.template: a program that is restarted in its pod would start " +
			"another Reactor session. Each attempt is a new pod; an init container may have restartPolicy Always, which makes it a sidecar"
	case slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == tokenVolume }):
		return fmt.Sprintf("the volume %q of spec.template has a name that the operator uses: choose another", tokenVolume)
	}
	for _, variable := range pod.Containers[at].Env {
		if slices.Contains(ours, variable.Name) {
			return fmt.Sprintf("the environment variable %s is set by the operator: take it out of spec.template", variable.Name)
		}
	}
	for _, mount := range pod.Containers[at].VolumeMounts {
		if path := strings.TrimRight(mount.MountPath, "/"); path == tokenFolder || strings.HasPrefix(path, tokenFolder+"/") {
			return fmt.Sprintf("the operator mounts the token at %s: choose another mountPath for the volume %q", tokenFolder, mount.Name)
		}
	}
	for _, gate := range pod.SchedulingGates {
		if isOurDomain(gate.Name) {
			return fmt.Sprintf("the scheduling gate %s of spec.template belongs to the operator, as does all of the domain reactor.inc: use another domain", gate.Name)
		}
	}
	return checkMetadata(&spec.Template.ObjectMeta)
}

// restartsInPlace reports whether the kubelet may start a container again whose pod is never restarted (ContainerShouldRestart in
// k8s.io/kubernetes/pkg/kubelet/container asks the container first).
func restartsInPlace(container corev1.Container) bool {
	return container.RestartPolicy != nil || hasRestartRules(container)
}

// hasRestartRules reports whether the end of a container may restart it, or all containers of its pod.
func hasRestartRules(container corev1.Container) bool {
	return len(container.RestartPolicyRules) > 0
}

// checkMetadata refuses labels, annotations and finalizers of our own domain.
func checkMetadata(meta *metav1.ObjectMeta) string {
	names := slices.Collect(maps.Keys(meta.Labels))
	names = slices.AppendSeq(names, maps.Keys(meta.Annotations))
	names = append(names, meta.Finalizers...)
	slices.Sort(names)
	for _, name := range names {
		if isOurDomain(name) {
			return fmt.Sprintf("%s in the metadata of spec.template belongs to the operator, as does all of the domain reactor.inc: use another domain", name)
		}
	}
	return ""
}

// isOurDomain reports whether a name with a prefix is in the domain reactor.inc.
func isOurDomain(name string) bool {
	domain, _, found := strings.Cut(name, "/")
	return found && (domain == "reactor.inc" || strings.HasSuffix(domain, ".reactor.inc"))
}

// buildPod renders the pod of an attempt.
func buildPod(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, attempt *v1alpha1.SessionAttempt, with settings) *corev1.Pod {
	template := session.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: session.Namespace, Name: attempt.PodName,
			Labels: template.Labels, Annotations: template.Annotations,
			Finalizers:      append(slices.Clone(template.Finalizers), TrackingFinalizer),
			OwnerReferences: []metav1.OwnerReference{controllerReference(session)},
		},
		Spec: template.Spec,
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	maps.Copy(pod.Labels, attemptLabels(session, attempt.Number))
	pod.Annotations[SessionAnnotation] = session.Name
	pod.Annotations[outcome.ContainerAnnotation] = session.Spec.SessionContainer()
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if backstop := backstopOf(&session.Spec, status); backstop != nil {
		pod.Spec.ActiveDeadlineSeconds, pod.Annotations[outcome.BackstopAnnotation] = backstop, "maxDuration"
	}
	if expectsGates(&session.Spec.Template) {
		pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: TokenGate})
		pod.Annotations[GatedAnnotation] = "true"
	}
	harden(&pod.Spec)
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == session.Spec.SessionContainer() {
			give(&pod.Spec, &pod.Spec.Containers[i], session, attempt, with)
		}
	}
	return pod
}

// missingMetadata are what the pod of an attempt should carry and does not: the labels by which it is found, if somebody took them off, and
// the annotation of a pod that a webhook, such as Kueue's, gave a gate. Nil when it has them all, and when there is no pod.
func missingMetadata(session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt, pod *corev1.Pod) map[string]any {
	if attempt == nil || pod == nil {
		return nil
	}
	missing := map[string]any{}
	for name, value := range attemptLabels(session, attempt.Number) {
		if pod.Labels[name] != value {
			missing["labels"] = attemptLabels(session, attempt.Number)
		}
	}
	if isGated(pod) && pod.Annotations[GatedAnnotation] == "" {
		missing["annotations"] = map[string]string{GatedAnnotation: "true"}
	}
	if len(missing) == 0 {
		return nil
	}
	return missing
}

// backstopOf is how long the kubelet lets the pod live while the operator is away, in seconds; nil when the session has no limit, or the
// template one that is shorter. It counts from the pod's start, the pull of its image included.
func backstopOf(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) *int64 {
	left, own := remaining(spec, status), spec.Template.Spec.ActiveDeadlineSeconds
	backstop := int64((left + spec.EffectiveStartDeadline()) / time.Second)
	if left == 0 || own != nil && *own <= backstop {
		return nil
	}
	return &backstop
}

// harden sets what costs no program anything, where the user left it open. It does not set runAsNonRoot, and drops no capabilities:
// half of the world's images run as root, and would not start.
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

// forbidEscalation leaves a container alone that is privileged or has CAP_SYS_ADMIN: the API server refuses the two together.
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

// give hands the session's container what it is told and its credential.
func give(spec *corev1.PodSpec, container *corev1.Container, session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt, with settings) {
	theirs := container.Env
	container.Env = nil
	defer func() { container.Env = append(container.Env, theirs...) }() // last, so that they may refer to ours
	set := func(name, value string) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: value})
	}
	set("REACTOR_MODEL", string(session.Spec.Model))
	set("REACTOR_API_URL", with.apiURL)
	set("REACTOR_SESSION_NAME", session.Name)
	set("REACTOR_ATTEMPT", strconv.FormatInt(int64(attempt.Number), 10))
	if !session.Spec.UsesTokenFile() {
		container.Env = append(container.Env, apiKeyVariable(session))
		return
	}
	set("REACTOR_JWT_FILE", tokenFile)
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: tokenVolume, MountPath: tokenFolder, ReadOnly: true})
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: tokenVolume, VolumeSource: corev1.VolumeSource{
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
