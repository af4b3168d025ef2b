package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	stallTimeout   = 20 * time.Second
	// maxFile is the maximum size of a file, in bytes. The largest one, the kubelet or kube-apiserver, has less than a tenth of it.
	maxFile = 1 << 30
)

// fetcher reads files from HTTP servers.
type fetcher struct {
	client *http.Client
	stall  time.Duration // how long a server may send nothing
}

func newFetcher() fetcher {
	return fetcher{client: &http.Client{Transport: newTransport((&net.Dialer{}).DialContext, connectTimeout)}, stall: stallTimeout}
}

// newTransport returns a transport that gives up a connection which is not there after the timeout.
func newTransport(dial func(ctx context.Context, network, address string) (net.Conn, error), timeout time.Duration) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no connection within %s", timeout))
			defer cancel()
			connection, err := dial(ctx, network, address)
			if err != nil && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return connection, err
		},
		TLSHandshakeTimeout: timeout,
		ForceAttemptHTTP2:   true,
		// A tar.gz must arrive as it is published.
		DisableCompression: true,
	}
}

// transfer counts the bytes of a file while it is read.
type transfer struct {
	received atomic.Int64
	total    atomic.Int64 // -1 if the server does not tell it
}

// fetch writes the file at an address to a path. The path exists only if the file has the SHA-256 sum: the bytes go to a
// temporary file next to it, which is renamed after the check.
func (f fetcher) fetch(ctx context.Context, address, sum, path string, counted *transfer) (err error) {
	partial, err := os.CreateTemp(filepath.Dir(path), "partial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(partial.Name()) }()
	hash := sha256.New()
	err = f.read(ctx, address, io.MultiWriter(partial, hash), counted)
	if err := errors.Join(err, partial.Close()); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != sum {
		return fmt.Errorf("%s has the SHA-256 sum %s instead of %s, so it is deleted", address, got, sum)
	}
	return os.Rename(partial.Name(), path)
}

// read copies what a server sends. It gives up if the server sends no byte for the time f.stall.
func (f fetcher) read(ctx context.Context, address string, to io.Writer, counted *transfer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.stall, func() { cancel(fmt.Errorf("the server sent no byte for %s", f.stall)) })
	defer watchdog.Stop()
	err := f.copyBody(ctx, address, to, func(n int) {
		watchdog.Reset(f.stall)
		counted.received.Add(int64(n))
	}, counted)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	// The error of the client repeats the method and the address.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", address, err)
}

func (f fetcher) copyBody(ctx context.Context, address string, to io.Writer, received func(n int), counted *transfer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	counted.total.Store(response.ContentLength)
	_, err = io.Copy(to, &countingReader{io.LimitReader(response.Body, maxFile), received})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection was cut after %d bytes", counted.received.Load())
	}
	return err
}

// countingReader reports the bytes that it reads.
type countingReader struct {
	reader   io.Reader
	received func(n int)
}

func (r *countingReader) Read(buffer []byte) (int, error) {
	n, err := r.reader.Read(buffer)
	if n > 0 {
		r.received(n)
	}
	return n, err
}

// extract writes programs from a tar.gz to a folder. The members are the paths of the programs in it. Each program appears under
// its name when it is complete.
func extract(archive string, members map[string]string, folder string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	missing := maps.Clone(members)
	for entries := tar.NewReader(unzipped); len(missing) > 0; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the archive has no %s", strings.Join(slices.Sorted(maps.Values(missing)), ", "))
		}
		if err != nil {
			return err
		}
		for program, member := range missing {
			if entry.Typeflag != tar.TypeReg || path.Clean(entry.Name) != member {
				continue
			}
			if err := writeProgram(entries, filepath.Join(folder, program)); err != nil {
				return err
			}
			delete(missing, program)
		}
	}
	return nil
}

// writeProgram writes an executable file. It appears at the path when it is complete.
func writeProgram(from io.Reader, path string) error {
	partial, err := os.CreateTemp(filepath.Dir(path), "partial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(partial.Name()) }()
	_, err = io.Copy(partial, from)
	if err := errors.Join(err, partial.Chmod(0o755), partial.Close()); err != nil {
		return err
	}
	return os.Rename(partial.Name(), path)
}
