package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// profiles begins a CPU profile of an operator, if profiles are wanted. What it returns is called when the work is done: it takes the
// other profiles, and the metrics, which count the requests by verb.
func (b *bench) profiles(ctx context.Context, operator *stage.Operator, name string) func() error {
	if b.profile == "" {
		return noFailure
	}
	cpu := make(chan error, 1)
	go func() {
		cpu <- b.fetch(ctx, fmt.Sprintf("%s/profile?seconds=%d", operator.Profiles, b.profileSeconds), name+"-cpu.pprof")
	}()
	return func() error {
		return errors.Join(
			b.fetch(ctx, operator.Profiles+"/heap?gc=1", name+"-heap.pprof"),
			b.fetch(ctx, operator.Profiles+"/allocs", name+"-allocs.pprof"),
			b.fetch(ctx, operator.Metrics, name+"-metrics.txt"),
			<-cpu)
	}
}

// fetch writes what is served at a URL into the folder of the profiles.
func (b *bench) fetch(ctx context.Context, url, file string) error {
	content, err := stage.Get(ctx, url)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.profile, file), content, 0o644)
}
