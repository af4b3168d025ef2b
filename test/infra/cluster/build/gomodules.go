package main

import (
	"context"
	"fmt"
	"io"
)

// downloadModules downloads the Go modules that packages need, and shows a counter instead of the go command's line for each of
// them. It prints nothing if the module cache has all of them.
func downloadModules(ctx context.Context, folder string, packages []string, log io.Writer) error {
	p := newProgress(log)
	stop := p.start(p.line)
	_, err := listDependencies(ctx, folder, packages, p)
	stop()
	if err != nil {
		return fmt.Errorf("download modules: %w\n%s", err, p.complaints())
	}
	if count := p.downloadedModules(); count > 0 {
		fmt.Fprintf(log, "downloaded %d Go modules in %s\n", count, p.elapsed())
	}
	return nil
}
