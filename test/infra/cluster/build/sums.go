package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writeSums downloads the files of the pinned versions for both architectures, compares them with the sums that their publishers
// name, and writes the files of sums. It writes nothing unless all files match.
func (d downloader) writeSums(ctx context.Context, tiers ...tier) error {
	written := map[string]sums{}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, t := range tiers {
			files, err := t.downloadables(d.source, arch)
			if err != nil {
				return err
			}
			for _, file := range files {
				sum, err := d.checkedSum(ctx, file)
				if err != nil {
					return err
				}
				if written[file.sumsFile()] == nil {
					written[file.sumsFile()] = sums{}
				}
				written[file.sumsFile()][file.name()] = sum
			}
		}
	}
	return d.replaceSums(written)
}

// checkedSum returns the sum that the publisher names for a file, after it downloaded the file and found that it has this sum.
func (d downloader) checkedSum(ctx context.Context, file downloadable) (string, error) {
	sum, err := d.publishedSum(ctx, file)
	if err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp("", "cluster-sums-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	return sum, d.fetch(ctx, file, sum, filepath.Join(scratch, file.name()))
}

// publishedSum asks the publisher for the sum of a file.
func (d downloader) publishedSum(ctx context.Context, file downloadable) (string, error) {
	var content strings.Builder
	if err := d.fetcher.read(ctx, file.published(), &content, &transfer{}); err != nil {
		return "", err
	}
	sum, found := parseSums([]byte(content.String()), file.name())[file.name()]
	if !found {
		return "", fmt.Errorf("%s has no SHA-256 sum of %s", file.published(), file.name())
	}
	return sum, nil
}

// replaceSums writes the files of sums, and removes those of other versions.
func (d downloader) replaceSums(written map[string]sums) error {
	old, err := filepath.Glob(filepath.Join(d.source, "sums", "*.txt"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(d.source, "sums"), 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		var content strings.Builder
		for _, file := range slices.Sorted(maps.Keys(written[name])) {
			fmt.Fprintf(&content, "%s  %s\n", written[name][file], file)
		}
		if err := os.WriteFile(filepath.Join(d.source, name), []byte(content.String()), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(d.log, "wrote test/infra/cluster/%s\n", name)
	}
	return nil
}
