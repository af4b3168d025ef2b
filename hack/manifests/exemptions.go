package main

import "fmt"

// exemption accepts a finding of kube-score, for the given reason. Without an object it accepts the finding for every object. Without a
// comment it accepts every finding of the check.
type exemption struct {
	check, object, comment string
	reason                 string
}

// exemptions are all accepted findings. If kube-score no longer finds one of them, remove it here.
var exemptions = []exemption{
	{
		check: "container-resources", comment: "CPU limit is not set",
		reason: "A CPU limit slows a program down even on an idle node. The CPU request gives it its share of a busy one.",
	},
	{
		check: "container-resources", object: "Deployment reactor-operator", comment: "Memory limit is not set",
		reason: "A killed operator renews no tokens. docs/resources.md has the expected memory for users who want a limit.",
	},
	{
		check: "container-resources", object: "Job reactor-operator-drain", comment: "Memory limit is not set",
		reason: "The drain has the resources of the operator.",
	},
	{
		check:  "container-ephemeral-storage-request-and-limit",
		reason: "The programs write no file: their root file system is read-only, and they mount no volume to write to.",
	},
	{
		check:  "container-image-pull-policy",
		reason: "A release never moves a tag, and a node that holds the image starts the pod even if the registry is unavailable.",
	},
	{
		check: "container-security-context-user-group-id",
		reason: "The images name the numeric user 65532, and runAsNonRoot refuses root. OpenShift refuses a pod that sets a user outside of the " +
			"range of its namespace.",
	},
	{
		check: "pod-networkpolicy",
		reason: "A policy needs the addresses of DNS and of the Kubernetes API, which differ between clusters. The value " +
			"networkPolicy.enabled and the component network-policy add a policy.",
	},
	{
		check: "networkpolicy-targets-pod", object: "NetworkPolicy reactor-operator-token-server",
		reason: "The component network-policy also covers the token server. The policy selects nothing if the token server is not installed.",
	},
	{
		check: "deployment-replicas", object: "Deployment reactor-operator",
		reason: "One operator is active at a time. A second replica shortens the pause after a failure. It is the user's choice.",
	},
	{
		check: "deployment-replicas", object: "Deployment reactor-operator-emulator",
		reason: "The emulator is for trials, and keeps sessions in memory. A second replica would not have those of the first.",
	},
	{
		check: "deployment-has-host-podantiaffinity", object: "Deployment reactor-operator-token-server",
		reason: "Topology spread constraints put its pods on different nodes.",
	},
}

// exempted returns the first exemption that accepts a finding.
func (f finding) exempted(exemptions []exemption) (exemption, bool) {
	for _, e := range exemptions {
		if e.check == f.check && (e.object == "" || e.object == f.object) && (e.comment == "" || e.comment == f.comment) {
			return e, true
		}
	}
	return exemption{}, false
}

// unused describes the exemptions that accept nothing.
func unused(exemptions []exemption, used map[exemption]bool) []string {
	var problems []string
	for _, e := range exemptions {
		if !used[e] {
			problems = append(problems, fmt.Sprintf(
				"hack/manifests/exemptions.go: kube-score has no finding %s %q %q. Remove the exemption", e.check, e.object, e.comment))
		}
	}
	return problems
}
