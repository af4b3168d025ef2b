package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// writeFiles creates files below a folder.
func writeFiles(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// zipOf returns a zip with one file.
func zipOf(t *testing.T, name, content string) string {
	t.Helper()
	var zipped bytes.Buffer
	archive := zip.NewWriter(&zipped)
	file, err := archive.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.Write([]byte(content))
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	return zipped.String()
}

func TestModuleDownloadsAreOneLineWithACounter(t *testing.T) {
	proxy, module := t.TempDir(), t.TempDir()
	files := map[string]string{
		"go.mod":  "module example.com/user\n\ngo 1.26\n\nrequire (\n\texample.com/a v1.0.0\n\texample.com/b v1.0.0\n)\n",
		"main.go": "package main\n\nimport (\n\t_ \"example.com/a\"\n\t_ \"example.com/b\"\n)\n\nfunc main() {}\n",
	}
	writeFiles(t, module, files)
	for _, name := range []string{"a", "b"} {
		writeFiles(t, filepath.Join(proxy, "example.com", name, "@v"), map[string]string{
			"v1.0.0.info": `{"Version": "v1.0.0"}`,
			"v1.0.0.mod":  "module example.com/" + name + "\n",
			"v1.0.0.zip":  zipOf(t, "example.com/"+name+"@v1.0.0/"+name+".go", "package "+name+"\n"),
		})
	}
	for name, value := range map[string]string{
		"GOPROXY": "file://" + filepath.ToSlash(proxy), "GOSUMDB": "off", "GONOPROXY": "none", "GOFLAGS": "-mod=mod -modcacherw", "GOMODCACHE": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	var log strings.Builder
	if err := run(t.Context(), []string{"modules", module, "./..."}, os.Getenv, nil, &log); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^downloaded 2 Go modules in \S+\n$`).MatchString(log.String()) {
		t.Errorf("it prints %q, want one line", log.String())
	}
	log.Reset()
	if err := run(t.Context(), []string{"modules", module, "./..."}, os.Getenv, nil, &log); err != nil || log.Len() > 0 {
		t.Errorf("the second time: %v, %q, want nothing", err, log.String())
	}
	writeFiles(t, module, map[string]string{"other.go": "package main\n\nimport _ \"example.com/absent\"\n"})
	if err := run(t.Context(), []string{"modules", module, "./..."}, os.Getenv, nil, &log); err == nil || !strings.Contains(err.Error(), "example.com/absent") {
		t.Errorf("error %v, want one that names the module that does not exist", err)
	}
}
