package main

import (
	"cmp"
	"fmt"
	"strings"
)

const (
	// published is the prefix of the image names if the images are not pushed to a registry.
	published = "ghcr.io/reactor-operator"

	operatorImage    = "reactor-operator"
	tokenServerImage = "reactor-token-server"
	emulatorImage    = "reactor-emulator"

	// imageKey is the key of an image in the chart's values.
	imageKey = "image"
)

// delivery describes how the images get into the cluster.
type delivery struct {
	// prefix is the prefix of their names, without a slash at the end.
	prefix  string
	version string
	// push is true if they are pushed to a registry.
	push bool
}

// chooseDelivery prefers a registry that the user named. It fails if there is no way.
func chooseDelivery(t target, registry, version string) (delivery, error) {
	registry = strings.TrimSuffix(strings.TrimPrefix(registry, "oci://"), "/")
	if registry == "" && t.kind == "" {
		return delivery{}, fmt.Errorf("%s is not a kind, k3d or minikube cluster and not a node of `make node`, so the images cannot be loaded into it, "+
			"and REGISTRY is not set. The operator's images are not published. Run `docker login` (or another login that writes ~/.docker/config.json) "+
			"for a registry that the cluster can pull from, and add REGISTRY=registry.example.com/team. "+
			"If the registry is private, also add HELM_ARGS='--set imagePullSecrets[0].name=NAME', "+
			"with a Secret in the operator's namespace", t)
	}
	return delivery{prefix: cmp.Or(registry, published), version: version, push: registry != ""}, nil
}

// image is the whole name of an image.
func (d delivery) image(name string) string { return d.prefix + "/" + name + ":" + d.version }

// makeArgs are the arguments of make that build the images for these architectures, and push them if the delivery needs a registry.
func (d delivery) makeArgs(architectures []string) []string {
	goal := "image"
	if d.push {
		goal = "image-push"
	}
	return []string{
		goal, "PLATFORMS=" + strings.Join(architectures, " "), "VERSION=" + d.version, "IMAGE=" + d.image(operatorImage),
		"TOKEN_SERVER_IMAGE=" + d.image(tokenServerImage), "EMULATOR_IMAGE=" + d.image(emulatorImage),
	}
}

// images are those that an installation needs in the cluster.
func (i installation) images() []string {
	if i.trial {
		return []string{operatorImage, emulatorImage}
	}
	return []string{operatorImage, tokenServerImage}
}

// imageValues are the values of the chart for an image. An image in a registry is named by digest, so that nodes pull it again when the same
// tag is pushed again. A loaded image has no digest on the node, and nodes must never pull it.
func (d delivery) imageValues(name, digest string) map[string]any {
	registry, folder, _ := strings.Cut(d.prefix+"/"+name, "/")
	values := map[string]any{"registry": registry, "repository": folder, "tag": d.version, "pullPolicy": "Never"}
	if d.push {
		values["digest"], values["pullPolicy"] = digest, "IfNotPresent"
	}
	return values
}

// values are the values of the chart for an installation with images of these digests.
func (i installation) values(d delivery, digests map[string]string) map[string]any {
	tokenServer := d.imageValues(tokenServerImage, digests[tokenServerImage])
	// The token server has the registry, the tag and the pull policy of the operator.
	for _, shared := range []string{"registry", "tag", "pullPolicy"} {
		delete(tokenServer, shared)
	}
	values := map[string]any{
		imageKey:      d.imageValues(operatorImage, digests[operatorImage]),
		"tokenServer": map[string]any{imageKey: tokenServer},
		// This annotation replaces the pods when the image changes and its tag does not.
		"podAnnotations": map[string]any{"reactor.inc/image-digest": digests[operatorImage]},
		"commonLabels":   map[string]any{installedByLabel: i.installedBy()},
		// The names of the objects do not depend on the name of the release.
		"fullnameOverride": i.release,
	}
	if i.trial {
		values["allowPromptDelivery"] = true // config/try uses it
		values["developmentEmulator"] = map[string]any{"enabled": true, imageKey: d.imageValues(emulatorImage, digests[emulatorImage])}
	}
	return values
}

// kustomization deploys config/try with the emulator's image of this delivery. Its file must be two folders below the repository.
func (d delivery) kustomization(digest string) map[string]any {
	image := map[string]any{"name": published + "/" + emulatorImage, "newName": d.prefix + "/" + emulatorImage, "newTag": d.version}
	if d.push {
		delete(image, "newTag")
		image["digest"] = digest
	}
	return map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1",
		"kind":       "Kustomization",
		"resources":  []string{"../../config/try"},
		"images":     []any{image},
		"labels":     []any{map[string]any{"pairs": map[string]any{installedByLabel: trialInstallation.installedBy()}}},
	}
}
