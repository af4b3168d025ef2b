package tokenserver

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// secretFolder is a folder like the one that the kubelet makes of a Secret: the files are links into a folder of their own, which a second
// link names, and a change turns that link.
type secretFolder struct {
	*testing.T
	folder   string
	versions int
}

// write replaces all files in one step.
func (s *secretFolder) write(files map[string]string) {
	s.Helper()
	s.versions++
	version := fmt.Sprintf("..2026_%d", s.versions)
	s.must(os.Mkdir(filepath.Join(s.folder, version), 0o700))
	for name, content := range files {
		s.must(os.WriteFile(filepath.Join(s.folder, version, name), []byte(content), 0o600))
		if _, err := os.Lstat(filepath.Join(s.folder, name)); err != nil {
			s.must(os.Symlink(filepath.Join("..data", name), filepath.Join(s.folder, name)))
		}
	}
	before, _ := os.Readlink(filepath.Join(s.folder, "..data"))
	s.must(os.Symlink(version, filepath.Join(s.folder, "..data_tmp")))
	s.must(os.Rename(filepath.Join(s.folder, "..data_tmp"), filepath.Join(s.folder, "..data")))
	if before != "" {
		s.must(os.RemoveAll(filepath.Join(s.folder, before)))
	}
}

func (s *secretFolder) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// tokenFiles are a token of the emulator as a ReactorToken's Secret holds it.
func (w *world) tokenFiles(lifetime time.Duration) map[string]string {
	w.Helper()
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: w.reactor.Transport()})
	if err != nil {
		w.Fatal(err)
	}
	token, err := api.Mint(w.Context(), reactor.MintRequest{APIKey: firstKey, Lifetime: lifetime})
	if err != nil {
		w.Fatal(err)
	}
	return map[string]string{jwtFile: token.JWT.Reveal(), expiresAtFile: fmt.Sprint(token.ExpiresAt.Unix())}
}

// withOneToken runs a test with a server that gives all callers the token of a folder.
func withOneToken(t *testing.T, test func(w *world, secret *secretFolder)) {
	t.Helper()
	folder := t.TempDir()
	inWorld(t, func(s *config.TokenServer) { s.APIKeyFile, s.Models, s.SharedTokenDir = "", nil, folder }, func(w *world) {
		test(w, &secretFolder{T: t, folder: folder})
	})
}

func TestEveryCallerGetsTheTokenOfTheSecretAndTheNextOneOnceItExists(t *testing.T) {
	withOneToken(t, func(w *world, secret *secretFolder) {
		first := w.tokenFiles(time.Hour)
		secret.write(first)
		for _, caller := range []string{"ada", "grace"} {
			if got := w.ask(http.MethodPost, caller); got.JWT != first[jwtFile] {
				t.Errorf("%s got %d %s", caller, got.status, got.Error)
			}
		}
		second := w.tokenFiles(time.Hour)
		secret.write(second)
		w.pass(checkInterval)
		if got := w.ask(http.MethodPost, "ada"); got.JWT != second[jwtFile] {
			t.Error("the previous token was returned")
		}
		w.wantMints(2) // both by the test
	})
}

func TestATokenWithTooLittleLeftIsNotReturned(t *testing.T) {
	withOneToken(t, func(w *world, secret *secretFolder) {
		secret.write(w.tokenFiles(time.Hour))
		w.want(w.ask(http.MethodGet, "ada"), http.StatusOK, "")
		w.pass(50*time.Minute + time.Second)
		w.want(w.ask(http.MethodGet, "ada"), http.StatusServiceUnavailable, reasonTooShort)
		w.pass(time.Hour)
		w.want(w.ask(http.MethodGet, "ada"), http.StatusServiceUnavailable, reasonTooShort)
		secret.write(w.tokenFiles(time.Hour))
		w.pass(checkInterval)
		w.want(w.ask(http.MethodGet, "ada"), http.StatusOK, "")
	})
}

func TestASecretWithoutATokenIsReportedAndRecovers(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no jwt":           {expiresAtFile: "1795400000"},
		"no expiry":        {jwtFile: "eyJhbGciOi.eyJzdWIi.c2ln"},
		"an empty jwt":     {jwtFile: " \n", expiresAtFile: "1795400000"},
		"a jwt of lines":   {jwtFile: "eyJh\nbGci", expiresAtFile: "1795400000"},
		"a garbled expiry": {jwtFile: "eyJhbGciOi.eyJzdWIi.c2ln", expiresAtFile: "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			withOneToken(t, func(w *world, secret *secretFolder) {
				w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonNoToken)
				secret.write(files)
				w.pass(checkInterval)
				w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonNoToken)
				if strings.Contains(w.logged.String(), "eyJh") {
					t.Errorf("the content of the token's file is logged: %s", w.logged)
				}
				secret.write(w.tokenFiles(time.Hour))
				w.pass(checkInterval)
				w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
			})
		})
	}
}

// The kubelet removes the folder before, and may do so between reading the link and reading the files that it names.
func TestASecretThatIsChangedWhileItIsReadIsReadAgain(t *testing.T) {
	folder := t.TempDir()
	secret := &secretFolder{T: t, folder: folder}
	reads := 0
	got := retryIfRemoved(func() reading {
		reads++
		if reads == 1 {
			_, err := os.ReadFile(filepath.Join(folder, "..2026_1", jwtFile))
			secret.write(map[string]string{jwtFile: "eyJhbGciOi.eyJzdWIi.c2ln", expiresAtFile: "1795400000"})
			return reading{err: fmt.Errorf("the mounted Secret: %w", err)}
		}
		return readSecret(folder, nil)
	})
	if got.err != nil || reads != 2 {
		t.Errorf("after %d reads: %v", reads, got.err)
	}
	if got := retryIfRemoved(func() reading { reads++; return reading{err: os.ErrPermission} }); reads != 3 || got.err == nil {
		t.Errorf("another error than a missing file: %d reads", reads)
	}
}

// The folder need not be one of the kubelet: another program may write the files in place.
func TestFilesThatAreWrittenInPlaceAreReadAgain(t *testing.T) {
	withOneToken(t, func(w *world, secret *secretFolder) {
		for range 2 {
			files := w.tokenFiles(time.Hour)
			for name, content := range files {
				secret.must(os.WriteFile(filepath.Join(secret.folder, name), []byte(content+"\n"), 0o600))
				secret.must(os.Chtimes(filepath.Join(secret.folder, name), time.Now(), time.Now()))
			}
			w.pass(checkInterval)
			if got := w.ask(http.MethodPost, "ada"); got.JWT != files[jwtFile] {
				t.Errorf("got %d %s", got.status, got.Error)
			}
		}
	})
}
