package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeArchive writes a tar file in two formats at the same time. One is an image layout (see
// https://specs.opencontainers.org/image-spec/image-layout/). The other is an archive of docker save, which holds only one of the images.
func writeArchive(file string, tag name.Tag, artifact remote.Taggable, docker v1.Image, modified time.Time) (err error) {
	folder, err := os.MkdirTemp("", "image-layout-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	target, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	// containerd reads the full name from its own annotation. The standard annotation holds only the tag. Name would return
	// index.docker.io for docker.io, but containerd looks up the name in the pod.
	names := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag.String(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	})
	switch artifact := artifact.(type) {
	case v1.ImageIndex:
		err = target.AppendIndex(artifact, names)
	case v1.Image:
		err = target.AppendImage(artifact, names)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", artifact)
	}
	if err != nil {
		return err
	}
	if err := writeDockerManifest(filepath.Join(folder, "manifest.json"), tag, docker); err != nil {
		return err
	}
	output, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(tarFolder(output, os.DirFS(folder), modified), output.Close())
}

// writeDockerManifest writes the file by which docker load finds an image. It needs only the blobs of the layout, because docker load
// accepts any paths and compressed layers.
func writeDockerManifest(file string, tag name.Tag, image v1.Image) error {
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	descriptor := tarball.Descriptor{Config: blob(manifest.Config), RepoTags: []string{tag.String()}}
	for _, layer := range manifest.Layers {
		descriptor.Layers = append(descriptor.Layers, blob(layer))
	}
	content, err := json.Marshal(tarball.Manifest{descriptor})
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

// blob is the path of a blob in a layout.
func blob(descriptor v1.Descriptor) string {
	return path.Join("blobs", descriptor.Digest.Algorithm, descriptor.Digest.Hex)
}

// tarFolder packs the files in the order of their names. Their headers contain nothing that depends on the machine.
func tarFolder(output io.Writer, folder fs.FS, modified time.Time) error {
	writer := tar.NewWriter(output)
	err := fs.WalkDir(folder, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(path), Mode: 0o644, Size: int64(len(content)), ModTime: modified, Format: tar.FormatUSTAR}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		_, err = writer.Write(content)
		return err
	})
	return errors.Join(err, writer.Close())
}
