package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// never is a timeout that no test reaches.
const never = time.Hour

const (
	apiserverPath  = "/v1.37.2/bin/linux/amd64/kube-apiserver"
	kubectlPath    = "/v1.37.2/bin/linux/amd64/kubectl"
	etcdPath       = "/etcd-io/etcd/releases/download/v3.7.3/etcd-v3.7.3-linux-amd64.tar.gz"
	containerdPath = "/containerd/containerd/releases/download/v2.4.2/containerd-static-2.4.2-linux-amd64.tar.gz"
)

// site is a local server that answers in the place of every host, and remembers what was requested.
type site struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  []string
}

func newSite(t *testing.T, pages map[string]http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		page := pages[r.URL.Path]
		if page == nil {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	}))
	t.Cleanup(s.server.Close)
	return s
}

// requests are the names of the files that were requested.
func (s *site) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []string
	for _, path := range s.asked {
		files = append(files, filepath.Base(path))
	}
	return strings.Join(files, " ")
}

// redirected sends every request to one address.
type redirected struct {
	address string
	next    http.RoundTripper
}

func (r redirected) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Scheme, request.URL.Host = "http", r.address
	return r.next.RoundTrip(request)
}

// fetcherFrom returns a fetcher whose requests all go to one address.
func fetcherFrom(t *testing.T, address string, stall time.Duration) fetcher {
	t.Helper()
	transport := newTransport((&net.Dialer{}).DialContext, never)
	t.Cleanup(transport.CloseIdleConnections)
	return fetcher{client: &http.Client{Transport: redirected{address, transport}}, stall: stall}
}

func (s *site) address(t *testing.T) string {
	t.Helper()
	address, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return address.Host
}

// sends answers with the content.
func sends(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }
}

// stalls sends half of the content, and then nothing until the client closes the connection.
func stalls(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = io.WriteString(w, content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// cuts closes the connection after half of the content.
func cuts(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = io.WriteString(w, content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func sumOf(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

// archiveOf returns a tar.gz with files of the given names and contents.
func archiveOf(t *testing.T, files ...[2]string) string {
	t.Helper()
	var content bytes.Buffer
	zipped := gzip.NewWriter(&content)
	entries := tar.NewWriter(zipped)
	for _, file := range files {
		header := &tar.Header{Name: file[0], Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(file[1]))}
		if err := entries.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(entries, file[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(entries.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return content.String()
}

// sourceWith returns a folder that pins the versions of test/infra/cluster as constants, and the given sums.
func sourceWith(t *testing.T, pinned map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	files := map[string]string{
		"go.mod":            "module m\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.7.3 // indirect\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n",
		"kubelet/go.mod":    "module m\n\nrequire k8s.io/kubernetes v1.37.2 // indirect\n",
		"containerd/go.mod": "module m\n\nrequire (\n\tgithub.com/containerd/containerd/v2 v2.4.2 // indirect\n)\n",
	}
	for name, content := range pinned {
		files["sums/"+name+"-linux-amd64.txt"] += content
	}
	for name, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
