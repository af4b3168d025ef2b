package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
)

const (
	// watchTokenCommand is the subcommand that watches a file with a token.
	watchTokenCommand = "watch-token"
	watchTokenUsage   = watchTokenCommand + " --file PATH"
	// watchInterval is how often the file is read. The kubelet replaces the file through a symbolic link of its folder, and a watch of the file
	// would miss that.
	watchInterval = time.Second
)

// watchToken prints a line for each token that appears in a file, until ctx ends.
func watchToken(ctx context.Context, args []string, out io.Writer) error {
	flags := pflag.NewFlagSet("reactor-emulator "+watchTokenCommand, pflag.ContinueOnError)
	path := flags.String("file", "", "The `path` of the file with the token, such as the key jwt of a mounted Secret.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *path == "" || flags.NArg() > 0 {
		return errors.New(watchTokenCommand + ": the only argument must be the file: " + watchTokenUsage)
	}
	watcher := tokenWatcher{path: *path, readFile: os.ReadFile, clock: clock.RealClock{}, out: out}
	return watcher.run(ctx)
}

// tokenWatcher reads a file periodically, and prints a line when its content has changed. Of the content it prints only the token's id and
// times.
type tokenWatcher struct {
	path     string
	readFile func(path string) ([]byte, error)
	clock    clock.WithTicker
	out      io.Writer
}

// reading is the result of reading the file once.
type reading struct {
	content []byte
	problem string // why the file cannot be read; otherwise empty
}

func (w *tokenWatcher) run(ctx context.Context) error {
	ticker := w.clock.NewTicker(watchInterval)
	defer ticker.Stop()
	var last *reading
	for {
		current := w.read()
		if last == nil || last.problem != current.problem || !bytes.Equal(last.content, current.content) {
			if _, err := fmt.Fprintln(w.out, describe(current, w.path, w.clock.Now())); err != nil {
				return fmt.Errorf("%s: print a line: %w", watchTokenCommand, err)
			}
		}
		last = &current
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (w *tokenWatcher) read() reading {
	content, err := w.readFile(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return reading{problem: "does not exist"}
	case err != nil:
		return reading{problem: fmt.Sprintf("cannot be read: %v", err)}
	default:
		return reading{content: bytes.TrimSpace(content)}
	}
}

// describe returns the line about a reading.
func describe(r reading, path string, now time.Time) string {
	at := now.UTC().Format(time.RFC3339)
	if r.problem != "" {
		return fmt.Sprintf("%s no token: %s %s. A token is printed when it appears", at, path, r.problem)
	}
	var claims jwt.RegisteredClaims
	// Only Reactor checks the signature. The error may quote the content, so it is not printed.
	_, _, err := jwt.NewParser().ParseUnverified(string(r.content), &claims)
	switch {
	case err != nil:
		return fmt.Sprintf("%s no token: %s holds %d bytes that are not a JWT. A token is printed when it appears", at, path, len(r.content))
	case claims.ID == "" || claims.ExpiresAt == nil:
		return fmt.Sprintf("%s no token: the JWT in %s has no id (jti) or no expiry (exp). A token is printed when it appears", at, path)
	}
	expires := claims.ExpiresAt.UTC()
	left := expires.Sub(now).Truncate(time.Second)
	life := fmt.Sprintf("%s left", left)
	if left <= 0 {
		life = fmt.Sprintf("expired %s ago", -left)
	}
	// The id is quoted, because it comes from a file and must not print control characters to a terminal.
	return fmt.Sprintf("%s token %q expires %s, %s", at, claims.ID, expires.Format(time.RFC3339), life)
}
