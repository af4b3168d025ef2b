package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// someOf is a tier with some of the programs of another one.
func someOf(t tier, names ...string) tier {
	t.programs = slices.DeleteFunc(slices.Clone(t.programs), func(p program) bool { return !slices.Contains(names, p.name) })
	return t
}

func onLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("nothing is downloaded on another system than Linux")
	}
}

func TestAFailedDownloadContinuesWithTheBuild(t *testing.T) {
	onLinux(t)
	const content = "the program kube-apiserver, of some length"
	pinned := map[string]string{"kubernetes-v1.37.2": sumOf(content) + "  kube-apiserver\n" + sumOf("kubectl") + "  kubectl\n"}
	tests := map[string]struct {
		page      http.HandlerFunc
		stall     time.Duration
		noRoute   bool
		dial      func(context.Context, string, string) (net.Conn, error)
		wantBuilt string
		wantLog   string
	}{
		"a file with the pinned sum is taken": {page: sends(content), wantLog: "downloaded kube-apiserver v1.37.2: 1 MB in "},
		"a wrong sum":                         {page: sends("another program"), wantBuilt: "kube-apiserver, kubectl", wantLog: "has the SHA-256 sum " + sumOf("another program") + " instead of " + sumOf(content)},
		"a server that stalls":                {page: stalls(content), stall: time.Millisecond, wantBuilt: "kube-apiserver, kubectl", wantLog: "the server sent no byte for 1ms"},
		"a server that never answers":         {page: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, stall: time.Millisecond, wantBuilt: "kube-apiserver, kubectl", wantLog: "the server sent no byte for 1ms"},
		"a connection that is cut":            {page: cuts(content), wantBuilt: "kube-apiserver, kubectl", wantLog: "the connection was cut after 21 bytes"},
		"a file that does not exist":          {wantBuilt: "kube-apiserver, kubectl", wantLog: "the server answers 404 Not Found"},
		"a refused connection":                {noRoute: true, wantBuilt: "kube-apiserver, kubectl", wantLog: "connection refused"},
		"a connection that is never there": {dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, wantBuilt: "kube-apiserver, kubectl", wantLog: "no connection within 1ms"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pages := map[string]http.HandlerFunc{apiserverPath: test.page, kubectlPath: sends("kubectl")}
			site := newSite(t, pages)
			if test.noRoute {
				site.server.Close()
			}
			stall := test.stall
			if stall == 0 {
				stall = never
			}
			var log strings.Builder
			from := downloader{fetcher: fetcherFrom(t, site.address(t), stall), source: sourceWith(t, pinned), arch: "amd64", log: &log}
			if test.dial != nil {
				from.fetcher.client.Transport = newTransport(test.dial, time.Millisecond)
			}
			folder, built := t.TempDir(), ""
			t.Setenv("PATH", t.TempDir())
			err := someOf(controlPlane, "kube-apiserver", "kubectl").fill(t.Context(), folder, "v1.37.2", unset, from, func(rest tier) error {
				built = names(rest.programs)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if built != test.wantBuilt {
				t.Errorf("built are %q, want %q", built, test.wantBuilt)
			}
			wantFiles := ""
			if test.wantBuilt == "" {
				wantFiles = "kube-apiserver kubectl"
				if got := read(t, filepath.Join(folder, "kube-apiserver")); got != content {
					t.Errorf("kube-apiserver is %q", got)
				}
			}
			if got := strings.Join(entries(t, folder), " "); got != wantFiles {
				t.Errorf("the folder has %q, want %q", got, wantFiles)
			}
			if !strings.Contains(log.String(), test.wantLog) {
				t.Errorf("it prints %q, want a line with %q", log.String(), test.wantLog)
			}
			if lines := strings.Count(log.String(), "\n"); test.wantBuilt != "" && lines != 1 {
				t.Errorf("it prints %d lines, want one: %q", lines, log.String())
			}
		})
	}
}

func TestADownloadCanBeExecuted(t *testing.T) {
	onLinux(t)
	site := newSite(t, map[string]http.HandlerFunc{apiserverPath: sends("program")})
	from := downloader{fetcher: fetcherFrom(t, site.address(t), never), arch: "amd64", log: io.Discard}
	from.source = sourceWith(t, map[string]string{"kubernetes-v1.37.2": sumOf("program") + "  kube-apiserver\n"})
	folder := t.TempDir()
	if err := from.download(t.Context(), someOf(controlPlane, "kube-apiserver"), folder); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(folder, "kube-apiserver"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v, want 755", info, err)
	}
}

func TestOneArchiveHasSeveralPrograms(t *testing.T) {
	onLinux(t)
	archive := archiveOf(t, [2]string{"bin/containerd-stress", "no"}, [2]string{"./bin/ctr", "program ctr"}, [2]string{"etc/containerd", "no"},
		[2]string{"bin/containerd", "program containerd"}, [2]string{"bin/containerd-shim-runc-v2", "program shim"})
	site := newSite(t, map[string]http.HandlerFunc{containerdPath: sends(archive)})
	from := downloader{fetcher: fetcherFrom(t, site.address(t), never), arch: "amd64", log: io.Discard}
	from.source = sourceWith(t, map[string]string{"containerd-v2.4.2": sumOf(archive) + "  " + filepath.Base(containerdPath) + "\n"})
	folder := t.TempDir()
	if err := from.download(t.Context(), node, folder); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(entries(t, folder), " "), "containerd containerd-shim-runc-v2 ctr"; got != want {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	for program, want := range map[string]string{"containerd": "program containerd", "containerd-shim-runc-v2": "program shim", "ctr": "program ctr"} {
		if got := read(t, filepath.Join(folder, program)); got != want {
			t.Errorf("%s is %q, want %q", program, got, want)
		}
	}
	if got := site.requests(); got != filepath.Base(containerdPath) {
		t.Errorf("requested are %q, want the archive once", got)
	}
}

func TestAnArchiveWithoutTheProgramIsNotUsed(t *testing.T) {
	onLinux(t)
	archives := map[string]struct{ content, wantLog string }{
		"it has other files":          {archiveOf(t, [2]string{"etcd-v3.7.3-linux-amd64/etcdctl", "no"}), "the archive has no etcd-v3.7.3-linux-amd64/etcd"},
		"it is not a tar.gz":          {"some text that no program has compressed", "gzip: invalid header"},
		"it is not a complete tar.gz": {archiveOf(t, [2]string{"README.md", strings.Repeat("text", 1000)})[:40], "unexpected EOF"},
	}
	for name, archive := range archives {
		t.Run(name, func(t *testing.T) {
			site := newSite(t, map[string]http.HandlerFunc{etcdPath: sends(archive.content), apiserverPath: sends("program")})
			var log strings.Builder
			from := downloader{fetcher: fetcherFrom(t, site.address(t), never), arch: "amd64", log: &log}
			from.source = sourceWith(t, map[string]string{
				"etcd-v3.7.3":        sumOf(archive.content) + "  " + filepath.Base(etcdPath) + "\n",
				"kubernetes-v1.37.2": sumOf("program") + "  kube-apiserver\n",
			})
			folder := t.TempDir()
			if err := from.download(t.Context(), someOf(controlPlane, "etcd", "kube-apiserver"), folder); err != nil {
				t.Fatal(err)
			}
			// The other product does not suffer from it.
			if got := strings.Join(entries(t, folder), " "); got != "kube-apiserver" {
				t.Errorf("the folder has %q, want kube-apiserver alone", got)
			}
			if !strings.Contains(log.String(), archive.wantLog) {
				t.Errorf("it prints %q, want a line with %q", log.String(), archive.wantLog)
			}
		})
	}
}

func TestWithoutAPinnedSumNothingIsRequested(t *testing.T) {
	onLinux(t)
	site := newSite(t, nil)
	var log strings.Builder
	from := downloader{fetcher: fetcherFrom(t, site.address(t), never), source: sourceWith(t, nil), arch: "amd64", log: &log}
	if err := from.download(t.Context(), controlPlane, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if got := site.requests(); got != "" {
		t.Errorf("requested are %q, want nothing", got)
	}
	want := "not downloading etcd-v3.7.3-linux-amd64.tar.gz: test/infra/cluster/sums/etcd-v3.7.3-linux-amd64.txt pins no SHA-256 sum; make cluster-sums writes it\n" +
		"not downloading kube-apiserver, kube-controller-manager, kube-scheduler, kubectl: " +
		"test/infra/cluster/sums/kubernetes-v1.37.2-linux-amd64.txt pins no SHA-256 sum; make cluster-sums writes it\n"
	if log.String() != want {
		t.Errorf("it prints %q, want %q", log.String(), want)
	}
}

func TestDOWNLOAD0SkipsTheDownload(t *testing.T) {
	site := newSite(t, map[string]http.HandlerFunc{apiserverPath: sends("program")})
	var log strings.Builder
	from := downloader{fetcher: fetcherFrom(t, site.address(t), never), arch: "amd64", log: &log}
	from.source = sourceWith(t, map[string]string{"kubernetes-v1.37.2": sumOf("program") + "  kube-apiserver\n"})
	built := ""
	getenv := func(name string) string { return map[string]string{"DOWNLOAD": "0"}[name] }
	err := someOf(controlPlane, "kube-apiserver").fill(t.Context(), t.TempDir(), "v1.37.2", getenv, from, func(rest tier) error {
		built = names(rest.programs)
		return nil
	})
	if err != nil || built != "kube-apiserver" || site.requests() != "" {
		t.Errorf("%v, built are %q, requested are %q, want only a build", err, built, site.requests())
	}
	if log.String() != "not downloading: DOWNLOAD=0\n" {
		t.Errorf("it prints %q", log.String())
	}
}

func TestAnInterruptedDownloadEnds(t *testing.T) {
	onLinux(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	site := newSite(t, map[string]http.HandlerFunc{apiserverPath: func(_ http.ResponseWriter, r *http.Request) {
		cancel(interrupted)
		<-r.Context().Done()
	}})
	from := downloader{fetcher: fetcherFrom(t, site.address(t), never), arch: "amd64", log: io.Discard}
	from.source = sourceWith(t, map[string]string{"kubernetes-v1.37.2": sumOf("program") + "  kube-apiserver\n"})
	err := someOf(controlPlane, "kube-apiserver").fill(ctx, t.TempDir(), "v1.37.2", unset, from, func(tier) error {
		t.Error("it builds")
		return nil
	})
	if !errors.Is(err, interrupted) {
		t.Errorf("error %v, want the interruption", err)
	}
}

func TestTheProgressOfADownloadIsShown(t *testing.T) {
	if got, want := downloadLine("kubelet", 2500*time.Millisecond, 12_000_000, 71_200_000), "  2s: kubelet: 12 of 72 MB downloaded"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := downloadLine("kubelet", time.Second, 1, -1), "  1s: kubelet: 1 MB downloaded"; got != want {
		t.Errorf("without a size: %q, want %q", got, want)
	}
}

func unset(string) string { return "" }

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
