package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// controlEndpoint is the URL of the emulator.
type controlEndpoint string

// ledger reads what the emulator did.
func (e controlEndpoint) ledger(ctx context.Context) (ledger, error) {
	answer, err := e.ask(ctx, http.MethodGet, "/_emulator/ledger", "")
	if err != nil {
		return ledger{}, err
	}
	var read ledger
	return read, json.Unmarshal(answer, &read)
}

// keepLedger writes what the emulator did, all of it, into a file.
func (e controlEndpoint) keepLedger(ctx context.Context, path string) error {
	answer, err := e.ask(ctx, http.MethodGet, "/_emulator/ledger", "")
	if err != nil {
		return err
	}
	return os.WriteFile(path, answer, 0o600)
}

// fail sets faults, and none when there are none.
func (e controlEndpoint) fail(ctx context.Context, faults string) error {
	_, err := e.ask(ctx, http.MethodPut, "/_emulator/faults", `{"faults":[`+faults+`]}`)
	return err
}

func (e controlEndpoint) ask(ctx context.Context, method, path, body string) ([]byte, error) {
	return ask(ctx, method, string(e)+path, body)
}

// ask sends JSON to a program of this machine, which may be frozen, and returns what it answers.
func ask(ctx context.Context, method, url, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return stage.Ask(ctx, method, url, body)
}

// freeze stops a program as a machine that is starved does: its connections stay, and nobody answers.
func freeze(p *process.Process) error { return syscall.Kill(p.PID(), syscall.SIGSTOP) }

// thaw lets it go on.
func thaw(p *process.Process) error { return syscall.Kill(p.PID(), syscall.SIGCONT) }
