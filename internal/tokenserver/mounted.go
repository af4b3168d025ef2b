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

	// lookEvery is how often it is looked whether the mounted Secret has changed.
	lookEvery = time.Second
	// mountedRetry is when it is worth asking again while the Secret holds no token that will do: the operator is about to renew it, or
	// somebody has been told.
	mountedRetry = 10 * time.Second
)

// mounted hands out the one token of a mounted Secret to everybody.
type mounted struct {
	folder    string
	minRemainingLifetime time.Duration
	clock     clock.PassiveClock

	held    atomic.Pointer[reading]
	looking sync.Mutex
}

// reading is what the Secret held when it was looked at.
type reading struct {
	at      time.Time
	version string
	token   issued // without what is left
	err     error
}

// token implements source.
func (m *mounted) token(context.Context, string) (issued, error) { return m.current() }

// current is the token that the Secret holds now, if it has enough left.
func (m *mounted) current() (issued, error) {
	now := m.clock.Now()
	read := m.read(now)
	if read.err != nil {
		return issued{}, &unavailableError{reasonNoToken, mountedRetry, read.err}
	}
	token := read.token
	token.Left = token.ExpiresAt.Sub(now)
	if token.Left < m.minRemainingLifetime {
		return issued{}, &unavailableError{reasonTooShort, mountedRetry,
			fmt.Errorf("the token in %s has %s left, and --min-remaining-lifetime asks for %s", m.folder, token.Left.Round(time.Second), m.minRemainingLifetime)}
	}
	return token, nil
}

// read looks at the Secret, if nobody has just done so. While one looks, the others take what was there.
func (m *mounted) read(now time.Time) *reading {
	held := m.held.Load()
	if held != nil && now.Sub(held.at) < lookEvery {
		return held
	}
	if held == nil {
		m.looking.Lock()
	} else if !m.looking.TryLock() {
		return held
	}
	defer m.looking.Unlock()
	if latest := m.held.Load(); latest != held { // somebody else was faster
		return latest
	}
	fresh := look(m.folder, held)
	fresh.at = now
	m.held.Store(fresh)
	return fresh
}

// look reads the Secret anew, if it is not the one that was read before. The kubelet changes all files of a Secret at once, by turning a
// link to another folder and removing the old one: both are read from the same one, and once more when it went meanwhile.
func look(folder string, before *reading) *reading {
	return onceMoreIfGone(func() *reading { return lookOnce(folder, before) })
}

func onceMoreIfGone(look func() *reading) *reading {
	fresh := look()
	if errors.Is(fresh.err, fs.ErrNotExist) {
		return look()
	}
	return fresh
}

func lookOnce(folder string, before *reading) *reading {
	file, err := filepath.EvalSymlinks(filepath.Join(folder, jwtFile))
	if err != nil {
		return &reading{err: fmt.Errorf("the mounted Secret: %w", err)}
	}
	info, err := os.Stat(file) //nolint:gosec // the folder is a flag
	if err != nil {
		return &reading{err: fmt.Errorf("the mounted Secret: %w", err)}
	}
	version := file + " " + info.ModTime().String()
	if before != nil && before.err == nil && before.version == version {
		return &reading{version: version, token: before.token}
	}
	token, err := readToken(filepath.Dir(file))
	return &reading{version: version, token: token, err: err}
}

// readToken reads jwt and expires_at. Its errors never quote them.
func readToken(folder string) (issued, error) {
	jwt, jwtErr := os.ReadFile(filepath.Join(folder, jwtFile))               //nolint:gosec // the folder is a flag
	expires, expiresErr := os.ReadFile(filepath.Join(folder, expiresAtFile)) //nolint:gosec // the folder is a flag
	if err := errors.Join(jwtErr, expiresErr); err != nil {
		return issued{}, fmt.Errorf("the mounted Secret: %w", err)
	}
	jwt = bytes.TrimSpace(jwt)
	if len(jwt) == 0 || bytes.ContainsFunc(jwt, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return issued{}, fmt.Errorf("the mounted Secret: %s in %s is no token", jwtFile, folder)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(expires)), 10, 64)
	if err != nil {
		return issued{}, fmt.Errorf("the mounted Secret: %s in %s is not a number of Unix seconds", expiresAtFile, folder)
	}
	return issued{JWT: reactor.Secret(jwt), ExpiresAt: time.Unix(seconds, 0).UTC()}, nil
}
