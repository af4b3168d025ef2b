package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// downloader brings programs from where their projects publish them.
type downloader struct {
	fetcher fetcher
	source  string // the folder test/infra/cluster, which pins the versions and the sums
	arch    string
	log     io.Writer
}

// download brings the programs of a tier into a folder. It brings only files whose sum is pinned and matches. For what it does not
// bring, it prints one line with the reason: the caller builds these programs. An error is returned only if nothing can continue.
//
// After a failure it skips the other files of the same product: without a route, each of them would wait for the connection, and
// to build one program of a project takes almost as long as to build all of them.
func (d downloader) download(ctx context.Context, t tier, folder string) error {
	if runtime.GOOS != "linux" {
		fmt.Fprintln(d.log, "not downloading: the projects publish these programs for Linux only")
		return nil
	}
	files, err := t.downloadables(d.source, d.arch)
	if err != nil {
		return err
	}
	skipped := map[string]bool{}
	unpinned := map[string][]string{}
	for _, file := range files {
		if skipped[file.product.name] {
			continue
		}
		pinned, err := file.pinnedSums(d.source)
		if err != nil {
			return err
		}
		sum, found := pinned[file.name()]
		if !found {
			unpinned[file.sumsFile()] = append(unpinned[file.sumsFile()], file.name())
			continue
		}
		if err := d.bring(ctx, file, sum, folder); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			skipped[file.product.name] = true
			fmt.Fprintf(d.log, "not downloaded, continuing without downloads of %s: %v\n", file.product.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unpinned)) {
		fmt.Fprintf(d.log, "not downloading %s: test/infra/cluster/%s pins no SHA-256 sum; make cluster-sums writes it\n", strings.Join(unpinned[name], ", "), name)
	}
	return nil
}

// bring downloads one file and puts its programs into the folder.
func (d downloader) bring(ctx context.Context, file downloadable, sum, folder string) error {
	path := filepath.Join(folder, file.name())
	if err := d.fetch(ctx, file, sum, path); err != nil {
		return err
	}
	if file.product.member == "" {
		return os.Chmod(path, 0o755)
	}
	defer func() { _ = os.Remove(path) }()
	if err := extract(path, file.members, folder); err != nil {
		return fmt.Errorf("%s: %w", file.url, err)
	}
	return nil
}

// fetch downloads one file to a path and shows the progress.
func (d downloader) fetch(ctx context.Context, file downloadable, sum, path string) error {
	var counted transfer
	shown := newDisplay(d.log)
	stop := shown.start(func(elapsed time.Duration) string {
		return downloadLine(file.name(), elapsed, counted.received.Load(), counted.total.Load())
	})
	err := d.fetcher.fetch(ctx, file.url, sum, path, &counted)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.log, "downloaded %s %s: %d MB in %s\n", file.name(), file.version, megabytes(counted.received.Load()), shown.elapsed())
	return nil
}

func downloadLine(name string, elapsed time.Duration, received, total int64) string {
	if total <= 0 {
		return fmt.Sprintf("  %s: %s: %d MB downloaded", elapsed.Truncate(time.Second), name, megabytes(received))
	}
	return fmt.Sprintf("  %s: %s: %d of %d MB downloaded", elapsed.Truncate(time.Second), name, megabytes(received), megabytes(total))
}

// megabytes rounds up, so that a small file does not have 0 MB.
func megabytes(bytes int64) int64 { return (bytes + 999_999) / 1_000_000 }
