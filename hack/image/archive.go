package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// writeArchive writes an image layout, as https://specs.opencontainers.org/image-spec/image-layout/ has it, into a tar file.
func writeArchive(file string, tag name.Tag, artifact remote.Taggable, modified time.Time) (err error) {
	folder, err := os.MkdirTemp("", "image-layout-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	// containerd and Docker take the whole name from their own annotation; the standard one holds the tag only.
	names := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag.Name(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	})
	switch artifact := artifact.(type) {
	case v1.ImageIndex:
		err = path.AppendIndex(artifact, names)
	case v1.Image:
		err = path.AppendImage(artifact, names)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", artifact)
	}
	if err != nil {
		return err
	}
	output, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(tarFolder(output, os.DirFS(folder), modified), output.Close())
}

// tarFolder packs the files in the order of their names, with nothing in their headers that another machine would write differently.
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
