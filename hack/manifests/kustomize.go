package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// overlay is a kustomization that combines folders of the repository, with other images, as a user would write it.
type overlay struct {
	resources, components []string // folders, relative to the root of the repository
	images                []types.Image
}

// parseImage reads NAME=REFERENCE, where the reference ends in a tag, a digest, or both.
func parseImage(pair string) (types.Image, error) {
	name, reference, found := strings.Cut(pair, "=")
	repository, digest, _ := strings.Cut(reference, "@")
	tag := ""
	// A colon before the last slash belongs to a port.
	if colon := strings.LastIndex(repository, ":"); colon > strings.LastIndex(repository, "/") {
		repository, tag = repository[:colon], repository[colon+1:]
	}
	if !found || name == "" || repository == "" || (tag == "" && digest == "") {
		return types.Image{}, fmt.Errorf("the image %q is not valid. Write NAME=REFERENCE, with a tag or a digest in the reference", pair)
	}
	return types.Image{Name: name, NewName: repository, NewTag: tag, Digest: digest}, nil
}

// build writes the overlay into a folder, and returns the output of kustomize.
func build(repository string, o overlay) (stream []byte, err error) {
	// kustomize accepts only relative paths, and resolves them from the real path of the folder.
	folder, err := os.MkdirTemp("", "manifests-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		return nil, err
	}
	if repository, err = filepath.EvalSymlinks(repository); err != nil {
		return nil, err
	}
	root, err := filepath.Rel(folder, repository)
	if err != nil {
		return nil, err
	}
	kustomization := types.Kustomization{Images: o.images}
	for _, resource := range o.resources {
		kustomization.Resources = append(kustomization.Resources, filepath.Join(root, resource))
	}
	for _, component := range o.components {
		kustomization.Components = append(kustomization.Components, filepath.Join(root, component))
	}
	text, err := yaml.Marshal(kustomization)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), text, 0o600); err != nil {
		return nil, err
	}
	// In the order of kubectl apply -k: namespaces and CRDs come before the objects that need them.
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", strings.Join(append(o.resources, o.components...), " with "), err)
	}
	return built.AsYaml()
}
