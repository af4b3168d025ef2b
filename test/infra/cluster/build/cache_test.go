package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// neverBuild fails a test that builds.
func neverBuild(t *testing.T) func(context.Context, string) error {
	return func(context.Context, string) error {
		t.Error("it builds")
		return errors.New("not to be called")
	}
}

// entries are the names in a folder.
func entries(t *testing.T, folder string) []string {
	t.Helper()
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func TestWhatIsBuiltIsNotBuiltAgain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := controlPlane.cached(t.Context(), root, "kubernetes", io.Discard, func(_ context.Context, folder string) error {
		fill(t, folder, "Kubernetes v1.37.2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, "kubernetes"); first != want {
		t.Errorf("folder %q, want %q", first, want)
	}
	var log strings.Builder
	second, err := controlPlane.cached(t.Context(), root, "kubernetes", &log, neverBuild(t))
	if err != nil || second != first {
		t.Errorf("the second time: %q, %v, want %q", second, err, first)
	}
	if log.Len() > 0 {
		t.Errorf("the second time is not silent: %q", log.String())
	}
}

func TestABuildThatFailsLeavesNothing(t *testing.T) {
	builds := map[string]func(context.Context, string) error{
		"it fails half way": func(_ context.Context, folder string) error {
			fill(t, folder, "Kubernetes v1.37.2")
			return errors.New("disk full")
		},
		"it lacks a binary": func(_ context.Context, folder string) error {
			fill(t, folder, "Kubernetes v1.37.2")
			return os.Remove(filepath.Join(folder, "etcd"))
		},
	}
	for name, build := range builds {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if _, err := controlPlane.cached(t.Context(), root, "kubernetes", io.Discard, build); err == nil {
				t.Fatal("no error")
			}
			if left := entries(t, root); len(left) != 1 || left[0] != "lock" {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestABuildClearsUpAfterAKilledOne(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{unfinished + "123", "kubernetes"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := controlPlane.cached(t.Context(), root, "kubernetes", io.Discard, func(_ context.Context, folder string) error {
		fill(t, folder, "Kubernetes v1.37.2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := controlPlane.complete(folder); err != nil {
		t.Error(err)
	}
	if left := strings.Join(entries(t, root), " "); left != "kubernetes lock" {
		t.Errorf("the cache holds %q", left)
	}
}

func TestTwoBuildsAtOnceAreOne(t *testing.T) {
	root := t.TempDir()
	started, finish := make(chan struct{}), make(chan struct{})
	var first, second error
	var both sync.WaitGroup
	both.Go(func() {
		_, first = controlPlane.cached(t.Context(), root, "kubernetes", io.Discard, func(_ context.Context, folder string) error {
			close(started)
			<-finish
			fill(t, folder, "Kubernetes v1.37.2")
			return nil
		})
	})
	<-started
	waiting := make(lines, 1)
	both.Go(func() { _, second = controlPlane.cached(t.Context(), root, "kubernetes", waiting, neverBuild(t)) })
	if line := <-waiting; !strings.Contains(line, "another build") {
		t.Errorf("it says %q while it waits", line)
	}
	close(finish)
	both.Wait()
	if first != nil || second != nil {
		t.Errorf("errors %v and %v", first, second)
	}
}

func TestWaitingForAnotherBuildCanBeInterrupted(t *testing.T) {
	root := t.TempDir()
	unlock, err := lock(t.Context(), filepath.Join(root, "lock"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := controlPlane.cached(ctx, root, "kubernetes", io.Discard, neverBuild(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}

// lines hands on each line that is written.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestTheCacheFolderMustBeClear(t *testing.T) {
	set := func(value string) func(string) string {
		return func(name string) string { return map[string]string{"REACTOR_OPERATOR_CACHE": value}[name] }
	}
	if root, err := cacheRoot(set("/var/cache/ro")); err != nil || root != "/var/cache/ro" {
		t.Errorf("an absolute path: %q, %v", root, err)
	}
	if root, err := cacheRoot(set("cache")); err == nil {
		t.Errorf("a relative path gives %q, want an error", root)
	}
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("XDG_CACHE_HOME", "")
	if root, err := cacheRoot(set("")); err != nil || filepath.Base(root) != "reactor-operator" || !strings.HasPrefix(root, "/home/somebody/") {
		t.Errorf("without a wish: %q, %v", root, err)
	}
}

func TestBinariesOfTheUserComeBeforeTheCache(t *testing.T) {
	t.Chdir("..")
	folder := folderOf(t, "Kubernetes v1.99.0")
	var log strings.Builder
	got, err := provide(t.Context(), func(name string) string { return map[string]string{"KUBEBUILDER_ASSETS": folder}[name] }, &log)
	if err != nil || got != folder {
		t.Errorf("%q, %v, want %q", got, err, folder)
	}
	if !strings.Contains(log.String(), "using Kubernetes v1.99.0") {
		t.Errorf("it says %q", log.String())
	}
}

func TestBinariesThatDoNotFitAreReplacedAndItSaysSo(t *testing.T) {
	t.Chdir("..")
	pinned, err := controlPlane.readPins(".")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KUBEBUILDER_ASSETS": folderOf(t, "Kubernetes v1.30.0"), "REACTOR_OPERATOR_CACHE": t.TempDir()}
	built := filepath.Join(env["REACTOR_OPERATOR_CACHE"], controlPlane.folderName(pinned))
	if err := os.Mkdir(built, 0o755); err != nil {
		t.Fatal(err)
	}
	fill(t, built, "Kubernetes "+pinned.version)
	var log strings.Builder
	got, err := provide(t.Context(), func(name string) string { return env[name] }, &log)
	if err != nil || got != built {
		t.Errorf("%q, %v, want %q", got, err, built)
	}
	if !strings.Contains(log.String(), "not using KUBEBUILDER_ASSETS=") || !strings.Contains(log.String(), "it holds v1.30.0") {
		t.Errorf("it says %q", log.String())
	}
}
