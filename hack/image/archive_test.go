package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestAnArchiveIsAnImageLayoutAndADockerArchive(t *testing.T) {
	tests := map[string]struct {
		name          string
		architectures []string
		wantDocker    string
	}{
		"one platform":                     {"localhost/worker:test", []string{"arm64"}, "linux/arm64"},
		"several platforms":                {"localhost/worker:test", []string{"arm64", "amd64"}, "linux/amd64"},
		"several platforms, without amd64": {"localhost/worker:test", []string{"ppc64le", "arm64"}, "linux/arm64"},
		// The container runtime looks for this name, not for the one with the host of the registry, index.docker.io.
		"a name in Docker Hub": {"docker.io/example/worker:test", []string{"amd64"}, "linux/amd64"},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "worker.tar")
			args := []string{"--name", test.name, "--output", archive}
			var wantPlatforms []string
			for _, architecture := range test.architectures {
				args = append(args, build(t, "worker", "GOARCH="+architecture))
				wantPlatforms = append(wantPlatforms, "linux/"+architecture)
			}
			if _, err := image(t, args...); err != nil {
				t.Fatal(err)
			}
			images := layoutImages(t, archive, test.name)
			slices.Sort(wantPlatforms)
			platforms := make([]string, 0, len(images))
			for platform := range images {
				platforms = append(platforms, platform)
			}
			slices.Sort(platforms)
			if diff := cmp.Diff(wantPlatforms, platforms); diff != "" {
				t.Fatalf("the platforms of the image layout (-want +got):\n%s", diff)
			}
			wantDockerImage(t, archive, test.name, images[test.wantDocker])
		})
	}
}

// layoutImages reads the archive as https://specs.opencontainers.org/image-spec/image-layout/ describes it. It compares all digests,
// sizes and platforms with the content, and returns the images by their platforms.
func layoutImages(t *testing.T, archive, wantName string) map[string]v1.Image {
	t.Helper()
	var version struct{ ImageLayoutVersion string }
	if err := json.Unmarshal(files(t, archive)["oci-layout"], &version); err != nil || version.ImageLayoutVersion != "1.0.0" {
		t.Errorf("oci-layout has the version %q, %v", version.ImageLayoutVersion, err)
	}
	index, descriptor := unpack(t, archive)
	if err := validate.Index(index); err != nil {
		t.Errorf("the image layout is not consistent: %v", err)
	}
	wantAnnotations := map[string]string{"io.containerd.image.name": wantName, "org.opencontainers.image.ref.name": "test"}
	if diff := cmp.Diff(wantAnnotations, descriptor.Annotations); diff != "" {
		t.Errorf("the annotations in index.json (-want +got):\n%s", diff)
	}
	images := []v1.Descriptor{descriptor}
	if descriptor.MediaType.IsIndex() {
		var err error
		if index, err = index.ImageIndex(descriptor.Digest); err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		images = manifest.Manifests
	}
	byPlatform := map[string]v1.Image{}
	for _, descriptor := range images {
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		byPlatform[config.Platform().String()] = image
	}
	return byPlatform
}

// wantDockerImage reads the archive as docker load does, which takes one platform only: it must find this image, in the blobs of the layout.
func wantDockerImage(t *testing.T, archive, wantName string, image v1.Image) {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := tarball.Descriptor{Config: "blobs/sha256/" + manifest.Config.Digest.Hex, RepoTags: []string{wantName}}
	for _, layer := range manifest.Layers {
		want.Layers = append(want.Layers, "blobs/sha256/"+layer.Digest.Hex)
	}
	got, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tarball.Manifest{want}, got); diff != "" {
		t.Errorf("manifest.json (-want +got):\n%s", diff)
	}
	tag, err := name.NewTag(wantName)
	if err != nil {
		t.Fatal(err)
	}
	found, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(found); err != nil {
		t.Errorf("the image that docker load takes is not consistent: %v", err)
	}
}

// files returns what an archive holds, by name. Readers disagree about which of two files of one name counts.
func files(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	input, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = input.Close() }()
	found := map[string][]byte{}
	for reader := tar.NewReader(input); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := found[header.Name]; twice {
			t.Errorf("the archive has two files %s", header.Name)
		}
		if found[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}
