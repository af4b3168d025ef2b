package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	source  = "https://github.com/reactor-operator/reactor-operator"
	license = "Apache-2.0"

	// nonRoot is the user and the group of the program. They are numbers, because the kubelet cannot check a name for runAsNonRoot.
	nonRoot = "65532:65532"
)

// packed is the image of a program.
type packed struct {
	v1.Image

	program program
}

// pack builds the image of a program, with one layer.
func pack(program program, labels map[string]string) (v1.Image, error) {
	created, err := time.Parse(time.RFC3339, labels["org.opencontainers.image.created"])
	if err != nil {
		return nil, err
	}
	files, err := archive(program, created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "hack/image", Comment: "/" + program.name},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = program.platform.OS, program.platform.Architecture, v1.Time{Time: created}
	config.Config = v1.Config{Entrypoint: []string{"/" + program.name}, User: nonRoot, Env: []string{"PATH=/"}, WorkingDir: "/", Labels: labels}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return nil, err
	}
	return annotate(image, labels)
}

// annotate repeats the labels in the manifest, from which registries and their pages read them.
func annotate[artifact partialManifest](of artifact, labels map[string]string) (artifact, error) {
	annotated, ok := mutate.Annotations(of, labels).(artifact)
	if !ok {
		return of, errors.New("the annotated artifact is not an image")
	}
	return annotated, nil
}

// partialManifest is an image or an index.
type partialManifest interface {
	RawManifest() ([]byte, error)
}

// archive holds only the program and no folders. The runtime creates the folders for mounts.
func archive(program program, modified time.Time) ([]byte, error) {
	var files bytes.Buffer
	writer := tar.NewWriter(&files)
	header := &tar.Header{Name: program.name, Mode: 0o755, Size: int64(len(program.content)), ModTime: modified, Format: tar.FormatUSTAR}
	if err := writer.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := writer.Write(program.content); err != nil {
		return nil, err
	}
	err := writer.Close()
	return files.Bytes(), err
}

// assemble returns the image if there is only one, or an index of several images.
func assemble(images []packed, labels map[string]string) (remote.Taggable, error) {
	if len(images) == 1 {
		return images[0].Image, nil
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image.Image, Descriptor: v1.Descriptor{Platform: &image.program.platform}})
	}
	return annotate(index, labels)
}

// digestOf is the name of an image or an index in a registry.
func digestOf(artifact remote.Taggable) (v1.Hash, error) {
	manifest, err := artifact.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(manifest))
	return digest, err
}

// contents lists the files of an image, from its layers.
func contents(image v1.Image) ([]*tar.Header, error) {
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	var found []*tar.Header
	for reader := tar.NewReader(files); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		found = append(found, header)
	}
}
