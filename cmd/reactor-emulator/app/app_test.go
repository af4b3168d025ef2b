package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func TestFlagsAreRead(t *testing.T) {
	tests := []struct {
		name      string
		args      []string
		moreKeys  string
		want      settings
		wantError string
	}{
		{name: "none", want: settings{listen: "127.0.0.1:8090", ceiling: 6 * time.Hour, quotas: emulator.DefaultQuotas}},
		{name: "all", args: []string{"--listen=:0", "--control-listen=:1", "--key=rk_a", "--key=rk_b", "--default-lifetime=1h", "--ceiling=2h", "--log-level=ERROR",
			"--concurrent-sessions=0", "--session-starts-per-minute=60"},
			moreKeys: "rk_c, rk_d,",
			want: settings{listen: ":0", controlListen: ":1", keys: []string{"rk_a", "rk_b", "rk_c", "rk_d"}, defaultLifetime: time.Hour, ceiling: 2 * time.Hour, logLevel: 8,
				quotas: emulator.Quotas{StartsPerMinute: 60, StartBurst: 3}}},
		{name: "an argument", args: []string{"serve"}, wantError: "the emulator takes only flags. The only subcommand, watch-token, must come before the flags"},
		{name: "an unknown flag", args: []string{"--what"}, wantError: "unknown flag: --what"},
		{name: "a negative quota", args: []string{"--concurrent-sessions=-1"}, wantError: "--concurrent-sessions, --concurrent-sessions-per-model and --session-starts-per-minute must not be negative"},
		{name: "too short a default", args: []string{"--default-lifetime=900ms"}, wantError: "--default-lifetime and --ceiling must be at least 1s"},
		{name: "no lifetime", args: []string{"--ceiling=0"}, wantError: "--default-lifetime and --ceiling must be at least 1s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parse(test.args, test.moreKeys)
			if test.wantError != "" {
				if err == nil || err.Error() != test.wantError {
					t.Errorf("got %v, want %s", err, test.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(settings{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// started runs the program on a free port, and returns its address, how it ended, and what it logs after the first line.
func started(t *testing.T, ctx context.Context) (string, <-chan error, *bufio.Reader) {
	t.Helper()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"--listen=127.0.0.1:0", "--key=rk_test_flag"}, "rk_test_variable", write, nil)
		_ = write.Close()
		ended <- err
	}()
	log := bufio.NewReader(read)
	line, err := log.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no line was logged: %v, %v", err, <-ended)
	}
	var first struct {
		Address string
		Keys    int
	}
	if err := json.Unmarshal(line, &first); err != nil || first.Keys != 2 {
		t.Fatalf("the first line is %s (%v)", line, err)
	}
	return "http://" + first.Address, ended, log
}

func TestItServesAndEndsWhenAsked(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	address, ended, log := started(t, ctx)
	logged := make(chan string, 1)
	go func() {
		rest, _ := io.ReadAll(log)
		logged <- string(rest)
	}()
	for _, key := range []string{"rk_test_flag", "rk_test_variable"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/tokens", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Reactor-API-Key", key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s is answered with %s", key, response.Status)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if rest := <-logged; strings.Contains(rest, "rk_test") || strings.Contains(rest, "eyJ") || strings.Count(rest, `"status":200`) != 2 {
		t.Errorf("it logged %s", rest)
	}
}

// In a cluster every pod reaches the API. A pod that reached the control endpoint could add API keys.
func TestTheControlEndpointIsServedOnlyAtItsOwnAddressIfItHasOne(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"}, "", write, nil)
	}()
	var addresses [2]string
	lines := json.NewDecoder(read)
	for i := range addresses {
		var line struct{ Address string }
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		addresses[i] = "http://" + line.Address
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	for path, want := range map[string][2]int{
		"/_emulator/healthz":     {http.StatusOK, http.StatusOK},
		"/_emulator/ledger":      {http.StatusNotFound, http.StatusOK},
		"/x/../_emulator/ledger": {http.StatusNotFound, http.StatusOK}, // after a redirect
		"/%5femulator/ledger":    {http.StatusNotFound, http.StatusOK},
		"/tokens":                {http.StatusMethodNotAllowed, http.StatusMethodNotAllowed}, // to GET
	} {
		for i, address := range addresses {
			response, err := http.Get(address + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != want[i] {
				t.Errorf("GET %s at the address of %s: got %s, want %d", path, []string{"the API", "the control endpoint"}[i], response.Status, want[i])
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestACallThatHangsDoesNotKeepItAlive(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	address, ended, log := started(t, ctx)
	go func() { _, _ = io.Copy(io.Discard, log) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+"/_emulator/faults", strings.NewReader(`{"faults":[{"hang":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusNoContent {
		t.Fatalf("the fault was not taken: %v, %v", response, err)
	}
	_ = response.Body.Close()
	// With connections of its own. If it shared those of countCalls: 1. Both need a connection, one is idle, and a second one is dialed.
	// 2. The first call ends before that, and the other one takes its connection. 3. The second connection never carries a request, and
	// http.Server.Shutdown waits 5 seconds for one.
	client := &http.Client{Transport: &http.Transport{}}
	hung := make(chan error, 1)
	go func() {
		response, err := client.Post(address+"/tokens", "", http.NoBody)
		if err == nil {
			_ = response.Body.Close()
		}
		hung <- err
	}()
	for calls := 0; calls == 0; {
		calls = countCalls(t, address)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if err := <-hung; err == nil {
		t.Error("the call that hung got an answer")
	}
}

func countCalls(t *testing.T, address string) int {
	t.Helper()
	response, err := http.Get(address + "/_emulator/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var ledger struct{ Calls []json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&ledger); err != nil {
		t.Fatal(err)
	}
	return len(ledger.Calls)
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	if err := run(t.Context(), []string{"--listen=127.0.0.1:no-port"}, "", io.Discard, nil); err == nil || !strings.Contains(err.Error(), "no-port") {
		t.Errorf("a bad address: %v", err)
	}
	if err := run(t.Context(), []string{"--listen=127.0.0.1:0", "--control-listen=127.0.0.1:no-port"}, "", io.Discard, nil); err == nil || !strings.Contains(err.Error(), "no-port") {
		t.Errorf("a bad address of the control endpoint: %v", err)
	}
	if err := run(t.Context(), []string{"--help"}, "", io.Discard, nil); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}
