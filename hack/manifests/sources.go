package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

const (
	systemNamespace = "reactor-operator-system"
	// version is the version of the images. A release has a version, and the tree has only latest.
	version = "v0.0.0"
)

// rendered is a stream of manifests as a user would apply it.
type rendered struct {
	name   string
	stream []byte
	// complete is false for manifests that omit parts, because they are a sample or test that the parts are optional. kube-score would report
	// every omitted part.
	complete bool
}

// render renders all manifests of the repository.
func render(ctx context.Context, repository string) ([]rendered, error) {
	charts, err := renderChart(ctx, repository)
	if err != nil {
		return nil, err
	}
	kustomizations, err := renderConfig(repository)
	if err != nil {
		return nil, err
	}
	examples, err := readExamples(repository)
	if err != nil {
		return nil, err
	}
	return slices.Concat(charts, kustomizations, examples), nil
}

// renderChart packs the chart as a release does, and renders it with each values file of its tests.
func renderChart(ctx context.Context, repository string) (found []rendered, err error) {
	tool := exec.CommandContext(ctx, "go", "tool", "-modfile=tools/helm/go.mod", "-n", "helm")
	tool.Dir, tool.Stderr = repository, os.Stderr
	tool.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath") // as make chart and test/infra/helm build it
	program, err := tool.Output()
	if err != nil {
		return nil, fmt.Errorf("build Helm: %w", err)
	}
	helm := func(args ...string) ([]byte, error) {
		command := exec.CommandContext(ctx, strings.TrimSpace(string(program)), args...)
		var stderr bytes.Buffer
		command.Dir, command.Stderr = repository, &stderr
		output, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, &stderr)
		}
		return output, nil
	}
	folder, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if _, err := helm("package", "charts/reactor-operator", "--version="+version, "--app-version="+version, "--destination="+folder); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(repository, "test", "chart", "testdata", "*.values.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("test/chart/testdata has no *.values.yaml")
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".values.yaml")
		stream, err := helm("template", "reactor-operator", filepath.Join(folder, "reactor-operator-"+version+".tgz"),
			"--namespace="+systemNamespace, "--values="+file)
		if err != nil {
			return nil, err
		}
		found = append(found, rendered{name: "chart " + name, stream: stream, complete: name != "least"})
	}
	return found, nil
}

// renderConfig renders each kustomization of config/, and config/default with each component.
func renderConfig(repository string) ([]rendered, error) {
	var folders []string
	root := os.DirFS(repository)
	err := fs.WalkDir(root, "config", func(name string, entry fs.DirEntry, err error) error {
		if entry.Name() == "kustomization.yaml" {
			folders = append(folders, path.Dir(name))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var found []rendered
	for _, folder := range folders {
		text, err := fs.ReadFile(root, path.Join(folder, "kustomization.yaml"))
		if err != nil {
			return nil, err
		}
		var kustomization types.Kustomization
		if err := yaml.Unmarshal(text, &kustomization); err != nil {
			return nil, fmt.Errorf("read the kustomization of %s: %w", folder, err)
		}
		o := overlay{resources: []string{folder}, images: releasedImages()}
		if kustomization.Kind == types.ComponentKind {
			o.resources, o.components = []string{"config/default"}, []string{folder}
		}
		stream, err := build(repository, o)
		if err != nil {
			return nil, err
		}
		found = append(found, rendered{name: folder, stream: stream, complete: !strings.HasPrefix(folder, "config/samples")})
	}
	return found, nil
}

// releasedImages gives each image the tag of a release.
func releasedImages() []types.Image {
	var images []types.Image
	for _, name := range []string{"reactor-operator", "reactor-token-server", "reactor-emulator"} {
		images = append(images, types.Image{Name: "ghcr.io/reactor-operator/" + name, NewTag: version})
	}
	return images
}

// readExamples reads the manifests of examples/.
func readExamples(repository string) ([]rendered, error) {
	files, err := filepath.Glob(filepath.Join(repository, "examples", "*", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var found []rendered
	for _, file := range files {
		stream, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(repository, file)
		if err != nil {
			return nil, err
		}
		found = append(found, rendered{name: name, stream: stream})
	}
	return found, nil
}
