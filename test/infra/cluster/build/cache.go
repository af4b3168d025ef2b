package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// unfinished starts the names of folders in which a build is going on, or was when it was interrupted.
const unfinished = "unfinished-"

// cached returns the folder of that name below root, and has it built first if it is not there. A folder appears under its name
// only when it is complete, and only one process builds at a time; a second one waits for the first and takes its result.
func (t tier) cached(ctx context.Context, root, name string, log io.Writer, build func(ctx context.Context, folder string) error) (string, error) {
	folder := filepath.Join(root, name)
	if t.complete(folder) == nil {
		return folder, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(root, "lock"), log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if t.complete(folder) == nil {
		return folder, nil
	}
	if err := removeUnfinished(root); err != nil {
		return "", err
	}
	return folder, t.buildInto(ctx, folder, build)
}

func (t tier) buildInto(ctx context.Context, folder string, build func(ctx context.Context, folder string) error) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(folder), unfinished)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	if err := build(ctx, scratch); err != nil {
		return err
	}
	if err := t.complete(scratch); err != nil {
		return fmt.Errorf("what was built is not complete: %w", err)
	}
	// What may still lie at the name has lost a binary, or we would not be here.
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.Rename(scratch, folder)
}

// removeUnfinished removes what killed builds left behind. Whoever holds the lock knows that nobody works in these folders.
func removeUnfinished(root string) error {
	folders, err := filepath.Glob(filepath.Join(root, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

// lock waits for its turn. The kernel gives the lock back when the process ends, however it ends. It asks again and again since
// a call that blocks could not be interrupted.
func lock(ctx context.Context, path string, log io.Writer) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		if !told {
			fmt.Fprintln(log, "another build of the cluster's binaries is under way, waiting for it")
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		}
	}
}
