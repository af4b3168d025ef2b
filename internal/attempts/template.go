package attempts

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// reservedVariables are the environment variables that the operator sets in the session's container.
var reservedVariables = []string{"REACTOR_MODEL", "REACTOR_API_URL", "REACTOR_SESSION_NAME", "REACTOR_ATTEMPT", "REACTOR_JWT_FILE", "REACTOR_API_KEY"}

// CheckTemplate returns why a template cannot run as a session, and what to write instead. It is empty if it can. The cost of these rules is too
// high for CEL, because a pod template has no bounds.
func CheckTemplate(spec *v1alpha1.ReactorSessionSpec) string {
	pod := &spec.Template.Spec
	at := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == spec.SessionContainer() })
	switch {
	case len(pod.Containers) == 0:
		return "spec.template has no containers. Add the one that runs the session"
	case at < 0:
		return fmt.Sprintf("spec.container is %q, and spec.template has no container of that name", spec.Container)
	case pod.RestartPolicy != "":
		return "spec.template.spec.restartPolicy must be empty. Each attempt is a new pod; spec.restartPolicy defines when another one follows"
	case slices.ContainsFunc(pod.Containers, restartsInPlace), slices.ContainsFunc(pod.InitContainers, hasRestartRules):
		return "restartPolicy of a container, and restartPolicyRules, must be empty in spec.template, because a program that is restarted in its pod would start " +
			"another Reactor session. Each attempt is a new pod; an init container may have restartPolicy Always, which makes it a sidecar"
	case slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == TokenVolume }):
		return fmt.Sprintf("the volume %q of spec.template has a name that the operator uses. Choose another name", TokenVolume)
	}
	for _, variable := range pod.Containers[at].Env {
		if slices.Contains(reservedVariables, variable.Name) {
			return fmt.Sprintf("the environment variable %s is set by the operator. Remove it from spec.template", variable.Name)
		}
	}
	for _, mount := range pod.Containers[at].VolumeMounts {
		if path := strings.TrimRight(mount.MountPath, "/"); path == tokenFolder || strings.HasPrefix(path, tokenFolder+"/") {
			return fmt.Sprintf("the operator mounts the token at %s. Choose another mountPath for the volume %q", tokenFolder, mount.Name)
		}
	}
	for _, gate := range pod.SchedulingGates {
		if isOurDomain(gate.Name) {
			return fmt.Sprintf("the scheduling gate %s of spec.template has the domain reactor.inc, which is reserved for the operator. Use another domain", gate.Name)
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
			return fmt.Sprintf("%s in the metadata of spec.template has the domain reactor.inc, which is reserved for the operator. Use another domain", name)
		}
	}
	return ""
}

// isOurDomain reports whether a name with a prefix is in the domain reactor.inc.
func isOurDomain(name string) bool {
	domain, _, found := strings.Cut(name, "/")
	return found && (domain == "reactor.inc" || strings.HasSuffix(domain, ".reactor.inc"))
}
