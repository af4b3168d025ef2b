package main

// installation names what a pair of commands installs and removes.
type installation struct {
	// up and down are the make targets.
	up, down string
	// release is the Helm release, in this namespace.
	release, namespace string
	// trial adds the emulator, a token and a pod that mounts it.
	trial bool
}

// The installations have different releases and namespaces, so that a trial cannot change an installation that is in use.
var (
	operatorInstallation = installation{up: "make deploy", down: "make undeploy", release: "reactor-operator", namespace: "reactor-operator-system"}
	trialInstallation    = installation{up: "make try", down: "make try-down", release: "reactor-try", namespace: "reactor-try-system", trial: true}

	installations = map[string]installation{
		"deploy": operatorInstallation, "undeploy": operatorInstallation, "try": trialInstallation, "try-down": trialInstallation,
	}
)

const (
	// trialNamespace is the namespace of the objects in config/try.
	trialNamespace = "reactor-try"
	// trialPod is the Deployment in it whose log shows the tokens.
	trialPod = "viewer"

	// installedByLabel marks the release, the CRDs and the namespaces that the commands created. The commands change or delete only objects
	// with this label, so that a release that a user installed under the same name is safe.
	installedByLabel = "reactor.inc/installed-by"
)

// installedBy is the value of installedByLabel.
func (i installation) installedBy() string {
	if i.trial {
		return "make-try"
	}
	return "make-deploy"
}

// namespaces are those that the installation creates.
func (i installation) namespaces() []string {
	if i.trial {
		return []string{i.namespace, trialNamespace}
	}
	return []string{i.namespace}
}
