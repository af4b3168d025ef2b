package tokenserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	// The keys of a ReactorToken's Secret.
	jwtFile       = "jwt"
	expiresAtFile = "expires_at"

	// checkInterval is the minimum time between two checks for a changed Secret.
	checkInterval = time.Second
	// mountedRetryDelay is the Retry-After while the Secret has no usable token.
	mountedRetryDelay = 10 * time.Second
)

// mounted returns the token of a mounted Secret to all callers.
type mounted struct {
	directory    string
	minRemaining time.Duration
	clock        clock.PassiveClock

	latest   atomic.Pointer[reading]
	checking sync.Mutex // held during a check
}

// reading is the content of the Secret at a time.
type reading struct {
	time    time.Time
	version string // the file and its modification time
	token   issued // without Left
	err     error
}

// token implements source.
func (m *mounted) token(context.Context, string) (issued, error) { return m.current() }

// current returns the token of the Secret, if it is valid for long enough.
func (m *mounted) current() (issued, error) {
	now := m.clock.Now()
	read := m.read(now)
	if read.err != nil {
		return issued{}, &unavailableError{reasonNoToken, mountedRetryDelay, read.err}
	}
	token := read.token
	token.Left = token.ExpiresAt.Sub(now)
	if token.Left < m.minRemaining {
		return issued{}, &unavailableError{reasonTooShort, mountedRetryDelay,
			fmt.Errorf("the token in %s has %s left, less than --min-remaining-lifetime=%s", m.directory, token.Left.Round(time.Second), m.minRemaining)}
	}
	return token, nil
}

// read checks the Secret, at most once in a checkInterval. During a check, other requests use the previous content; only before the first one
// they wait.
func (m *mounted) read(now time.Time) *reading {
	before := m.latest.Load()
	if before != nil && now.Sub(before.time) < checkInterval {
		return before
	}
	if before == nil {
		m.checking.Lock()
	} else if !m.checking.TryLock() {
		return before
	}
	defer m.checking.Unlock()
	if latest := m.latest.Load(); latest != before { // another request has checked since the load above
		return latest
	}
	fresh := retryIfRemoved(func() reading { return readSecret(m.directory, before) })
	fresh.time = now
	m.latest.Store(&fresh)
	return &fresh
}

// retryIfRemoved reads a second time if the files did not exist. The scenario:
//
//  1. The server resolves the link to the current directory of the Secret.
//  2. The kubelet writes the renewed files into a new directory, changes the link, and removes the previous directory.
//  3. The server reads a file in the previous directory, which does not exist any more.
func retryIfRemoved(read func() reading) reading {
	result := read()
	if errors.Is(result.err, fs.ErrNotExist) {
		return read()
	}
	return result
}

// readSecret reads the Secret, unless the previous reading has the same version. It reads both files from one directory, so that they belong
// together.
func readSecret(directory string, before *reading) reading {
	file, err := filepath.EvalSymlinks(filepath.Join(directory, jwtFile))
	if err != nil {
		return reading{err: fmt.Errorf("the mounted Secret: %w", err)}
	}
	info, err := os.Stat(file) //nolint:gosec // the directory is a flag
	if err != nil {
		return reading{err: fmt.Errorf("the mounted Secret: %w", err)}
	}
	version := file + " " + info.ModTime().String()
	if before != nil && before.err == nil && before.version == version {
		return reading{version: version, token: before.token}
	}
	token, err := readToken(filepath.Dir(file))
	return reading{version: version, token: token, err: err}
}

// readToken reads jwt and expires_at. Its errors do not quote them.
func readToken(directory string) (issued, error) {
	jwt, jwtErr := os.ReadFile(filepath.Join(directory, jwtFile))               //nolint:gosec // the directory is a flag
	expires, expiresErr := os.ReadFile(filepath.Join(directory, expiresAtFile)) //nolint:gosec // the directory is a flag
	if err := errors.Join(jwtErr, expiresErr); err != nil {
		return issued{}, fmt.Errorf("the mounted Secret: %w", err)
	}
	jwt = bytes.TrimSpace(jwt)
	if len(jwt) == 0 || bytes.ContainsFunc(jwt, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return issued{}, fmt.Errorf("the mounted Secret: %s in %s is not a token", jwtFile, directory)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(expires)), 10, 64)
	if err != nil {
		return issued{}, fmt.Errorf("the mounted Secret: %s in %s is not a number of Unix seconds", expiresAtFile, directory)
	}
	return issued{JWT: reactor.Secret(jwt), ExpiresAt: time.Unix(seconds, 0).UTC()}, nil
}
