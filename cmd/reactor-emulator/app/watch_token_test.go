package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// midnight is when time starts in a bubble of testing/synctest.
var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func signed(t *testing.T, id string, expires time.Time) string {
	t.Helper()
	claims := jwt.RegisteredClaims{ID: id}
	if !expires.IsZero() {
		claims.ExpiresAt = jwt.NewNumericDate(expires)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestALineIsPrintedForEachTokenAndNeverTheToken(t *testing.T) {
	const path = "/var/run/secrets/reactor/jwt"
	first, second := signed(t, "aa01", midnight.Add(time.Minute)), signed(t, "aa02", midnight.Add(100*time.Second))
	contents := []any{ // what a reading finds, each a second after the one before
		fs.ErrNotExist, fs.ErrNotExist, "", first, first, first + "\n", "garbage " + second, errors.New("input/output error"), second, second,
		signed(t, "", midnight), signed(t, "aa03", time.Time{}), signed(t, "a\x1b[2J", midnight.Add(5*time.Second)),
	}
	want := []string{
		"2000-01-01T00:00:00Z no token: " + path + " does not exist. A token is printed when it appears",
		"2000-01-01T00:00:02Z no token: " + path + " holds 0 bytes that are not a JWT. A token is printed when it appears",
		`2000-01-01T00:00:03Z token "aa01" expires 2000-01-01T00:01:00Z, 57s left`,
		"2000-01-01T00:00:06Z no token: " + path + " holds 129 bytes that are not a JWT. A token is printed when it appears",
		"2000-01-01T00:00:07Z no token: " + path + " cannot be read: input/output error. A token is printed when it appears",
		`2000-01-01T00:00:08Z token "aa02" expires 2000-01-01T00:01:40Z, 1m32s left`,
		"2000-01-01T00:00:10Z no token: the JWT in " + path + " has no id (jti) or no expiry (exp). A token is printed when it appears",
		"2000-01-01T00:00:11Z no token: the JWT in " + path + " has no id (jti) or no expiry (exp). A token is printed when it appears",
		`2000-01-01T00:00:12Z token "a\x1b[2J" expires 2000-01-01T00:00:05Z, expired 7s ago`,
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var printed strings.Builder
		readings := 0
		watcher := tokenWatcher{path: path, clock: clock.RealClock{}, out: &printed, readFile: func(read string) ([]byte, error) {
			if read != path {
				t.Errorf("it reads %s", read)
			}
			content := contents[readings]
			if readings++; readings == len(contents) {
				stop()
			}
			if err, failed := content.(error); failed {
				return nil, err
			}
			return []byte(content.(string)), nil
		}}
		if err := watcher.run(ctx); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(printed.String()), "\n")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, token := range []string{first, second} {
			for part := range strings.SplitSeq(token, ".") {
				if strings.Contains(printed.String(), part) {
					t.Error("it printed a part of a token")
				}
			}
		}
		if since := time.Since(midnight); since != time.Duration(len(contents)-1)*time.Second {
			t.Errorf("%d readings took %s", len(contents), since)
		}
	})
}

func TestTheWatchEndsWhenAskedAndDoesNotWaitForTheNextReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		watcher := tokenWatcher{path: "jwt", clock: clock.RealClock{}, out: io.Discard, readFile: func(string) ([]byte, error) { return nil, nil }}
		go func() { ended <- watcher.run(ctx) }()
		synctest.Wait() // it waits for the next reading
		stop()
		if err := <-ended; err != nil || time.Since(midnight) != 0 {
			t.Errorf("it ended after %s with %v", time.Since(midnight), err)
		}
	})
}

// The kubelet writes a new folder and then renames a symbolic link over ..data, to which the files of a mounted Secret lead.
func TestTheWatchNoticesTheLinkThatTheKubeletReplaces(t *testing.T) {
	mount := t.TempDir()
	deliver := func(version, token string) {
		t.Helper()
		folder := filepath.Join(mount, version)
		if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, "jwt"), []byte(token), 0o600),
			os.Symlink(version, filepath.Join(mount, "..data_tmp")), os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	deliver("..1", signed(t, "aa01", midnight))
	file := filepath.Join(mount, "jwt")
	if err := os.Symlink(filepath.Join("..data", "jwt"), file); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	clock := clocktesting.NewFakeClock(midnight)
	watcher := tokenWatcher{path: file, readFile: os.ReadFile, clock: clock, out: write}
	go func() { ended <- watcher.run(ctx) }()
	lines := bufio.NewScanner(read)
	for i, id := range []string{"aa01", "aa02"} {
		if !lines.Scan() || !strings.Contains(lines.Text(), `token "`+id+`"`) {
			t.Fatalf("line %d is %q (%v)", i+1, lines.Text(), lines.Err())
		}
		if i == 0 {
			deliver("..2", signed(t, "aa02", midnight))
			clock.Step(watchInterval) // to the next reading
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestTheWatchThatCannotStartSaysWhy(t *testing.T) {
	const want = "watch-token: the only argument must be the file: watch-token --file PATH"
	for name, args := range map[string][]string{"no file": {"watch-token"}, "an argument": {"watch-token", "--file=jwt", "jwt"}} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), args, "", io.Discard, nil); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if err := run(t.Context(), []string{"watch-token", "--help"}, "", io.Discard, nil); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}
