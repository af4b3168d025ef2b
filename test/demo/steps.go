package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// step is a part of the demo.
type step struct {
	title string
	local bool // it needs the local Reactor API
	pods  bool // it needs a node
	play  func(*demo, context.Context) error
}

// steps are all of them, in their order.
var steps = []step{
	{title: "Kubernetes and Reactor, on this machine", play: (*demo).start},
	{title: "The operator, with no more rights than in a cluster", play: (*demo).startOperator},
	{title: "A ReactorToken is applied, and its Secret appears", play: (*demo).apply},
	{title: "What is in the Secret", play: (*demo).decode},
	{title: "A shorter life than was asked for", local: true, play: (*demo).clamped},
	{title: "The token is renewed", play: (*demo).renewed},
	{title: "The API key is rotated", local: true, play: (*demo).rotated},
	{title: "The Secret is deleted", play: (*demo).deleted},
	{title: "A wrong API key", play: (*demo).wrongKey},
	{title: "A session runs in a pod, and completes", local: true, pods: true, play: (*demo).completes},
	{title: "A session is suspended, and resumed", local: true, pods: true, play: (*demo).suspended},
	{title: "The API key is rotated while a session runs", local: true, pods: true, play: (*demo).rotatedBelow},
	{title: "A session fails, and says why", local: true, pods: true, play: (*demo).fails},
}

// run shows a command, runs it, and shows what it printed. A failure is shown like any output: what matters is looked at
// afterwards.
func (d *demo) run(ctx context.Context, command string) {
	if ctx.Err() != nil {
		return
	}
	d.say.command(command)
	output, err := d.stage.shell(ctx, command)
	d.say.output(output)
	if err != nil && output == "" && ctx.Err() == nil {
		d.say.output(err.Error())
	}
}

// mustRun is run, of a command that the rest of the demo stands on.
func (d *demo) mustRun(ctx context.Context, command string) error {
	d.say.command(command)
	output, err := d.stage.shell(ctx, command)
	d.say.output(output)
	if err != nil {
		return fmt.Errorf("the last command failed: %w", err)
	}
	return nil
}

// writeKey makes a file that holds an API key, and one that holds it as the emulator's control endpoint reads it.
func (d *demo) writeKey(file, key string) error {
	d.say.veil.hide(key)
	if err := os.WriteFile(d.stage.file(file), []byte(key), 0o600); err != nil {
		return err
	}
	return os.WriteFile(d.stage.file(file+".json"), []byte(`{"key":"`+key+`"}`), 0o600)
}

// tellReactor shows a request to the control endpoint of the local Reactor API, sends it, and shows the answer. A body that
// begins with @ is the content of a file of the demo.
func (d *demo) tellReactor(ctx context.Context, method, path, body string) (string, error) {
	content := body
	if name, isFile := strings.CutPrefix(body, "@"); isFile {
		file, err := os.ReadFile(d.stage.file(name))
		if err != nil {
			return "", err
		}
		content = string(file)
	}
	d.say.request(method, path, body)
	answer, err := d.stage.reactor.ask(ctx, method, path, content)
	d.say.output(string(answer))
	return string(answer), err
}

// showConditions shows the conditions of a ReactorToken.
func (d *demo) showConditions(ctx context.Context, name string) {
	d.run(ctx, "kubectl get rtok "+name+" -o \\\n"+
		`jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'`)
}
