package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestAnArchiveHoldsTheProgramAndStartsIt(t *testing.T) {
	program, output := filepath.Join(t.TempDir(), "worker"), filepath.Join(t.TempDir(), "worker.tar")
	if err := os.WriteFile(program, []byte("the program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(output, "localhost/worker:test", []string{program}); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("localhost/worker:test")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(output, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(config.Config.Entrypoint, " "); got != "/worker" || config.Config.User != nobody {
		t.Errorf("it starts %q as user %q", got, config.Config.User)
	}
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	archive, found := tar.NewReader(files), map[string]string{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.Trim(header.Name, "/")] = header.FileInfo().Mode().String() + " " + string(content)
	}
	if found["worker"] != "-rwxr-xr-x the program" || !strings.HasPrefix(found["tmp"], "dtrwxrwxrwx") || len(found) != 2 {
		t.Errorf("it holds %q", found)
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	program := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		output, tag string
		args        []string
	}{
		"no output":                 {"", "localhost/worker:test", []string{program}},
		"no program":                {filepath.Join(t.TempDir(), "worker.tar"), "localhost/worker:test", nil},
		"a program that is missing": {filepath.Join(t.TempDir(), "worker.tar"), "localhost/worker:test", []string{program + "-not-there"}},
		"a name with spaces":        {filepath.Join(t.TempDir(), "worker.tar"), "my worker", []string{program}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := run(test.output, test.tag, test.args); err == nil {
				t.Error("no error")
			}
		})
	}
}
