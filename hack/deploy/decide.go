package main

import (
	"fmt"
	"slices"
	"strings"
)

// consent is what is necessary before the program changes a cluster.
type consent int

const (
	granted consent = iota
	mustAsk
	refused
)

// needConsent decides whether the program must ask the user. A local cluster needs no consent, YES=1 gives it, and without a terminal the
// program cannot ask and refuses.
func needConsent(t target, yes, terminal bool) consent {
	switch {
	case t.local || yes:
		return granted
	case terminal:
		return mustAsk
	default:
		return refused
	}
}

// owner is the Helm release that a CustomResourceDefinition belongs to.
type owner struct {
	crd                string
	release, namespace string // empty: of no release
	mark               string // the value of installedByLabel
}

func (o owner) is(i installation) bool {
	return o.release == i.release && o.namespace == i.namespace && o.mark == i.installedBy()
}

func (o owner) String() string {
	if o.release == "" {
		return "no Helm release"
	}
	return fmt.Sprintf("the Helm release %q in namespace %q", o.release, o.namespace)
}

// checkOwners refuses an installation next to another one: a cluster has one operator, because the CRDs belong to the whole cluster.
func checkOwners(i installation, owners []owner) error {
	at := slices.IndexFunc(owners, func(o owner) bool { return !o.is(i) })
	if at < 0 {
		return nil
	}
	o := owners[at]
	advice := "Use that installation, use another cluster, or uninstall it first (docs/install.md#remove)"
	switch {
	case o.is(operatorInstallation):
		advice = "It was installed by `make deploy`. Use that installation, use another cluster, or run `make undeploy` first"
	case o.is(trialInstallation):
		advice = "It is a trial of `make try`. Run `make try-down` first"
	case o.release == "":
		advice = "They were installed without Helm, for example by `make install`, or with `kubectl apply -k config/default`. " +
			"If nothing uses them, run `make uninstall`, which also deletes every ReactorToken and ReactorSession. " +
			"Otherwise see docs/install.md#from-kustomize-to-the-chart"
	}
	return fmt.Errorf("%s would install a second operator: the cluster has the CRD %s, which belongs to %s, and a cluster can have one operator. "+
		"Nothing was changed. %s", i.up, o.crd, o, advice)
}

// checkArchitectures chooses what the images are built for. An archive that is loaded holds one platform.
func checkArchitectures(architectures []string, push bool) ([]string, error) {
	all := slices.Clone(architectures)
	slices.Sort(all)
	all = slices.Compact(all)
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("the cluster has no Linux node, so no pod can run. Add a node, and run this again")
	case len(all) > 1 && !push:
		return nil, fmt.Errorf("the nodes have the architectures %s, but a loaded archive holds only one. Add REGISTRY=… to push images for all of them",
			strings.Join(all, " and "))
	}
	return all, nil
}

// found is what an installation has in the cluster.
type found struct {
	// release reports whether the Helm release exists.
	release bool
	// owned are the CRDs that belong to the release, and foreign the others of the operator.
	owned, foreign []owner
	// tokens and sessions are objects of the CRDs, as NAMESPACE/NAME.
	tokens, sessions []string
	// namespaces are those that the installation created, and kept those that existed before.
	namespaces, kept []string
}

// ownsTokens reports whether the removal deletes the tokens and sessions. Kubernetes deletes them with their CRD.
func (f found) ownsObjects() bool { return len(f.owned) > 0 }

// nothing reports whether there is nothing to remove.
func (f found) nothing() bool { return !f.release && len(f.owned) == 0 && len(f.namespaces) == 0 }

// describe lists what a removal deletes, a line for each.
func (f found) describe(i installation) []string {
	var lines []string
	if f.release {
		lines = append(lines, fmt.Sprintf("the Helm release %q in namespace %q; sessions are ended first", i.release, i.namespace))
	}
	for _, o := range f.owned {
		lines = append(lines, "the CRD "+o.crd)
	}
	if f.ownsObjects() {
		for _, name := range f.tokens {
			lines = append(lines, "ReactorToken "+name+" and its Secret")
		}
		for _, name := range f.sessions {
			lines = append(lines, "ReactorSession "+name)
		}
	}
	for _, name := range f.namespaces {
		lines = append(lines, "the namespace "+name+" with all its objects")
	}
	return lines
}

// remaining lists what is kept, although a user could expect that it is deleted.
func (f found) remaining() []string {
	var lines []string
	for _, o := range f.foreign {
		lines = append(lines, fmt.Sprintf("the CRD %s and its objects are kept: it belongs to %s", o.crd, o))
	}
	for _, name := range f.kept {
		lines = append(lines, fmt.Sprintf("the namespace %s is kept: it existed before", name))
	}
	return lines
}
