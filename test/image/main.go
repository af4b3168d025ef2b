// Command image writes a container image of a single static program, without a container engine:
//
//	go -C test/image run . --output /tmp/worker.tar --tag localhost/worker:test /tmp/worker
//
// The image has one layer, with the program as its entrypoint and a /tmp that everybody can write to, and runs as a user
// without rights. The file is an archive as `docker save` makes them, which `ctr images import` and `docker load` read.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nobody is the user and the group of the program.
const nobody = "65532:65532"

func main() {
	output := flag.String("output", "", "the `file` to write")
	tag := flag.String("tag", "", "the `name` of the image, such as localhost/worker:test")
	flag.Parse()
	if err := run(*output, *tag, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(output, tag string, args []string) error {
	if output == "" || len(args) != 1 {
		return errors.New("usage: image --output FILE --tag NAME PROGRAM")
	}
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	image, err := build("/"+filepath.Base(args[0]), program)
	if err != nil {
		return fmt.Errorf("build the image %s: %w", tag, err)
	}
	return tarball.WriteToFile(output, reference, image)
}

// build returns the image of a program, for machines such as this one.
func build(entrypoint string, program []byte) (v1.Image, error) {
	content, err := layer(entrypoint, program)
	if err != nil {
		return nil, err
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, packed)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{entrypoint}, User: nobody, Env: []string{"PATH=/"}}
	return mutate.ConfigFile(image, config)
}

// layer packs the program and an empty /tmp.
func layer(entrypoint string, program []byte) ([]byte, error) {
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return nil, err
	}
	if err := archive.WriteHeader(&tar.Header{Name: entrypoint[1:], Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(program); err != nil {
		return nil, err
	}
	err := archive.Close()
	return packed.Bytes(), err
}
