package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// published returns the pages of a site that publishes all files of both architectures with their sums.
func published(t *testing.T, source string) map[string]http.HandlerFunc {
	t.Helper()
	pages := map[string]http.HandlerFunc{}
	lists := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, tier := range []tier{controlPlane, node} {
			files, err := tier.downloadables(source, arch)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				pages[pathOf(file.url)] = sends(file.url)
				list := sumOf(file.url)
				if file.product.name != "kubernetes" {
					list += "  " + file.name()
				}
				lists[pathOf(file.published())] += list + "\n"
			}
		}
	}
	for path, content := range lists {
		pages[path] = sends(content)
	}
	return pages
}

// pathOf is the path in the address of a file.
func pathOf(address string) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(address, "https://"), "/")
	return "/" + path
}

func TestTheSumsAreWrittenOnceTheyAreCheckedAgainstThePublisher(t *testing.T) {
	source := sourceWith(t, map[string]string{"etcd-v3.0.0": sumOf("old") + "  old\n"})
	site := newSite(t, published(t, source))
	var log strings.Builder
	d := downloader{fetcher: fetcherFrom(t, site.address(t), never), source: source, log: &log}
	if err := d.writeSums(t.Context(), controlPlane, node); err != nil {
		t.Fatal(err)
	}
	want := "containerd-v2.4.2-linux-amd64.txt containerd-v2.4.2-linux-arm64.txt etcd-v3.7.3-linux-amd64.txt etcd-v3.7.3-linux-arm64.txt " +
		"kubernetes-v1.37.2-linux-amd64.txt kubernetes-v1.37.2-linux-arm64.txt"
	if got := strings.Join(entries(t, filepath.Join(source, "sums")), " "); got != want {
		t.Errorf("files %q, want %q", got, want)
	}
	var lines strings.Builder
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"} {
		fmt.Fprintf(&lines, "%s  %s\n", sumOf("https://dl.k8s.io/v1.37.2/bin/linux/arm64/"+program), program)
	}
	if got := read(t, filepath.Join(source, "sums", "kubernetes-v1.37.2-linux-arm64.txt")); got != lines.String() {
		t.Errorf("the sums are %q, want %q", got, lines.String())
	}
	// What is written is what a download reads.
	for _, tier := range []tier{controlPlane, node} {
		files, err := tier.downloadables(source, "arm64")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if pinned, err := file.pinnedSums(source); err != nil || pinned[file.name()] != sumOf(file.url) {
				t.Errorf("the pinned sum of %s is %q, %v", file.name(), pinned[file.name()], err)
			}
		}
	}
}

func TestSumsThatDoNotMatchAreNotWritten(t *testing.T) {
	pages := map[string]struct {
		path      string
		page      http.HandlerFunc
		wantError string
	}{
		"the publisher names another sum":  {kubectlPath + ".sha256", sends(sumOf("another")), "instead of " + sumOf("another")},
		"the publisher names no sum":       {kubectlPath + ".sha256", sends("<html>"), "kubectl.sha256 has no SHA-256 sum of kubectl"},
		"the publisher names another file": {containerdPath + ".sha256sum", sends(sumOf("x") + "  containerd.tar.gz"), "has no SHA-256 sum of containerd-static"},
		"there is no sum":                  {"/etcd-io/etcd/releases/download/v3.7.3/SHA256SUMS", http.NotFound, "404"},
		"there is no file":                 {etcdPath, http.NotFound, "404"},
	}
	for name, test := range pages {
		t.Run(name, func(t *testing.T) {
			source := sourceWith(t, map[string]string{"etcd-v3.0.0": "old"})
			all := published(t, source)
			if all[test.path] == nil {
				t.Fatalf("nothing is published at %s, only at %q", test.path, slices.Sorted(maps.Keys(all)))
			}
			all[test.path] = test.page
			var log strings.Builder
			d := downloader{fetcher: fetcherFrom(t, newSite(t, all).address(t), never), source: source, log: &log}
			if err := d.writeSums(t.Context(), controlPlane, node); err == nil || !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("error %v, want one with %q", err, test.wantError)
			}
			if got := strings.Join(entries(t, filepath.Join(source, "sums")), " "); got != "etcd-v3.0.0-linux-amd64.txt" {
				t.Errorf("the sums are now %q, want the old ones", got)
			}
		})
	}
}

func TestTheSumsInTheTreeAreOfThePinnedVersions(t *testing.T) {
	known := map[string]bool{"README.md": true}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, tier := range []tier{controlPlane, node} {
			files, err := tier.downloadables("..", arch)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				known[filepath.Base(file.sumsFile())] = true
			}
		}
	}
	found, err := os.ReadDir("../sums")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if !known[file.Name()] {
			t.Errorf("test/infra/cluster/sums/%s is not of a pinned version: run make cluster-sums, or remove it", file.Name())
		}
	}
}

func TestWhatASumsFileMayContain(t *testing.T) {
	sum := strings.Repeat("a1", 32)
	tests := map[string]struct {
		content string
		want    sums
	}{
		"sha256sum's text mode":          {sum + "  file\n", sums{"file": sum}},
		"sha256sum's binary mode":        {sum + " *file\n", sums{"file": sum}},
		"a path":                         {sum + "  ./release/file\n", sums{"file": sum}},
		"a sum alone":                    {sum, sums{"alone": sum}},
		"upper case":                     {strings.ToUpper(sum) + "  file\n", sums{"file": sum}},
		"comments and empty lines":       {"# sums\n\n" + sum + "  file\n", sums{"file": sum}},
		"a sum that is too short":        {sum[1:] + "  file\n", sums{}},
		"a sum of another kind":          {sum + sum + "  file\n", sums{}},
		"a page that is no list of sums": {"<html>404</html>", sums{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := parseSums([]byte(test.content), "alone"); !maps.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
