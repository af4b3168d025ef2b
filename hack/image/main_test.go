package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// build compiles an empty program, in a folder of its own, and returns its path.
func build(t *testing.T, name string, environment ...string) string {
	t.Helper()
	folder := t.TempDir()
	for file, content := range map[string]string{"go.mod": "module example.com/worker\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(folder, name)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Dir = folder
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux"), environment...)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return program
}

// image runs the command, and returns what it prints.
func image(t *testing.T, args ...string) (string, error) {
	t.Helper()
	s, err := parse(args)
	if err != nil {
		return "", err
	}
	var stdout bytes.Buffer
	err = run(t.Context(), s, &stdout)
	return stdout.String(), err
}

// unpack returns the image layout in an archive, and the name of what it holds.
func unpack(t *testing.T, archive string) (v1.ImageIndex, v1.Descriptor) {
	t.Helper()
	folder := t.TempDir()
	if output, err := exec.Command("tar", "-xf", archive, "-C", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the archive holds %d images", len(manifest.Manifests))
	}
	return index, manifest.Manifests[0]
}

func TestAnArchiveOfOneProgramIsAnImageThatStartsIt(t *testing.T) {
	output := filepath.Join(t.TempDir(), "worker.tar")
	printed, err := image(t, "--name", "localhost/worker:test", "--output", output, "--version", "v1", "--revision", "abc", "--created", "1000", build(t, "worker", "GOARCH=amd64"))
	if err != nil {
		t.Fatal(err)
	}
	index, descriptor := unpack(t, output)
	if got := descriptor.Annotations["io.containerd.image.name"]; got != "localhost/worker:test" {
		t.Errorf("containerd finds it as %q", got)
	}
	packed, err := index.Image(descriptor.Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := packed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(config.Config.Entrypoint, " ") + " " + config.Config.User + " " + config.Platform().String(); got != "/worker 65532:65532 linux/amd64" {
		t.Errorf("it starts %s", got)
	}
	wantLabels := map[string]string{
		"title": "worker", "version": "v1", "revision": "abc", "licenses": "Apache-2.0", "created": "1970-01-01T00:16:40Z",
		"source": "https://github.com/reactor-operator/reactor-operator",
	}
	manifest, err := packed.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range wantLabels {
		label = "org.opencontainers.image." + label
		if config.Config.Labels[label] != want || manifest.Annotations[label] != want {
			t.Errorf("%s is %q as a label and %q as an annotation, want %q", label, config.Config.Labels[label], manifest.Annotations[label], want)
		}
	}
	files, err := contents(packed)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Name != "worker" || files[0].FileInfo().Mode().String() != "-rwxr-xr-x" || files[0].Uid != 0 {
		t.Errorf("it holds %+v", files)
	}
	if !strings.Contains(printed, descriptor.Digest.String()) || !strings.Contains(printed, "-rwxr-xr-x 0:0") {
		t.Errorf("it printed %s", printed)
	}
	if digest, err := os.ReadFile(strings.TrimSuffix(output, ".tar") + ".digest"); err != nil || string(digest) != "localhost/worker@"+descriptor.Digest.String()+"\n" {
		t.Errorf("the digest is reported as %q, %v", digest, err)
	}
}

func TestProgramsBuiltTwiceInTwoFoldersGiveTheSameFiles(t *testing.T) {
	var made [2]map[string]string
	for i := range made {
		programs := []string{build(t, "worker", "GOARCH=arm64"), build(t, "worker", "GOARCH=amd64")}
		if i == 1 {
			slices.Reverse(programs)
		}
		folder := t.TempDir()
		args := append([]string{"--name", "localhost/worker:test", "--output", filepath.Join(folder, "worker.tar"), "--sbom", "--version", "v1", "--created", "1000"}, programs...)
		if _, err := image(t, args...); err != nil {
			t.Fatal(err)
		}
		made[i] = map[string]string{}
		for _, file := range []string{"worker.tar", "worker.digest", "worker-linux-amd64.cdx.json", "worker-linux-arm64.cdx.json"} {
			content, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				t.Fatal(err)
			}
			made[i][file] = string(content)
		}
	}
	for file, content := range made[0] {
		if made[1][file] != content {
			t.Errorf("%s differs", file)
		}
	}
}

func TestARegistryGetsTheDigestThatTheArchiveHas(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	output := filepath.Join(t.TempDir(), "worker.tar")
	if _, err := image(t, "--name", host+"/worker:v1", "--output", output, "--push", build(t, "worker", "GOARCH=amd64"), build(t, "worker", "GOARCH=arm64")); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host + "/worker:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if _, descriptor := unpack(t, output); digest != descriptor.Digest {
		t.Errorf("the registry has %s, the archive %s", digest, descriptor.Digest)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, descriptor := range manifest.Manifests {
		platforms = append(platforms, descriptor.Platform.String())
	}
	if got := strings.Join(platforms, " "); got != "linux/amd64 linux/arm64" {
		t.Errorf("it is for %s", got)
	}
}

func TestTheSBOMNamesTheProgramAndTheModulesInIt(t *testing.T) {
	output := filepath.Join(t.TempDir(), "image.tar")
	// This module itself, because it has dependencies.
	program := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if _, err := image(t, "--name", "localhost/image:test", "--output", output, "--sbom", "--version", "v1+x", "--title", "packer", program); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(strings.TrimSuffix(output, ".tar") + "-linux-amd64.cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Metadata struct {
			Component struct{ Name, Version, PURL string }
		}
		Components []struct {
			PURL       string
			Properties []struct{ Name, Value string }
		}
	}
	if err := json.Unmarshal(content, &bom); err != nil {
		t.Fatal(err)
	}
	want := struct{ Name, Version, PURL string }{"packer", "v1+x", "pkg:golang/github.com/reactor-operator/reactor-operator/hack/image@v1%2Bx"}
	if bom.Metadata.Component != want {
		t.Errorf("it is about %+v", bom.Metadata.Component)
	}
	sums := map[string]string{}
	for _, component := range bom.Components {
		module, _, _ := strings.Cut(component.PURL, "@")
		sums[module] = ""
		for _, property := range component.Properties {
			sums[module] = property.Value
		}
	}
	if _, found := sums["pkg:golang/stdlib"]; !found || !strings.HasPrefix(sums["pkg:golang/github.com/google/go-containerregistry"], "h1:") {
		t.Errorf("it names %v", sums)
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	amd64 := build(t, "worker", "GOARCH=amd64")
	output := filepath.Join(t.TempDir(), "worker.tar")
	tests := map[string]struct {
		args []string
		want string
	}{
		"no output and no push":       {[]string{"--name", "localhost/worker:test", amd64}, "usage"},
		"SBOMs without an output":      {[]string{"--name", "localhost/worker:test", "--push", "--sbom", amd64}, "usage"},
		"no program":                  {[]string{"--name", "localhost/worker:test", "--output", output}, "usage"},
		"a program that is missing":   {[]string{"--name", "localhost/worker:test", "--output", output, amd64 + "-not-there"}, "no such file"},
		"a file that is no program":   {[]string{"--name", "localhost/worker:test", "--output", output, text}, "not a Go program"},
		"a name with spaces":          {[]string{"--name", "my worker", "--output", output, amd64}, "--name"},
		"a name without a tag":        {[]string{"--name", "localhost/worker", "--output", output, amd64}, "--name"},
		"one architecture twice":      {[]string{"--name", "localhost/worker:test", "--output", output, amd64, build(t, "worker", "GOARCH=amd64")}, "both for linux/amd64"},
		"programs of two names":       {[]string{"--name", "localhost/worker:test", "--output", output, amd64, build(t, "other", "GOARCH=arm64")}, "have different names"},
		"a program of another system": {[]string{"--name", "localhost/worker:test", "--output", output, build(t, "worker", "GOOS=darwin", "GOARCH=arm64")}, "GOOS=linux"},
		"a program with cgo":          {[]string{"--name", "localhost/worker:test", "--output", output, build(t, "worker", "CGO_ENABLED=1")}, "CGO_ENABLED=0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := parse(test.args)
			if err == nil {
				err = run(t.Context(), s, io.Discard)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
