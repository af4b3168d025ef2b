package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestTheTokenServerAnswersWhatItIsAsked(t *testing.T) {
	for name, test := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"its help":             {[]string{"--help"}, exitOK, "--shared-token-dir", ""},
		"its version":          {[]string{"--version"}, exitOK, "reactor-token-server devel", ""},
		"what is missing":      {nil, exitUsage, "", "choose how callers authenticate"},
		"a file that is not":   {[]string{"--api-key-file=/key", "--models=a/b", "--allow-anonymous", "--ca-bundle=/no/such.pem"}, exitFailed, "", "--ca-bundle"},
		"no cluster around it": {[]string{"--shared-token-dir=/s", "--service-accounts=a/b", "--service-account-audience=c"}, exitFailed, "", "--service-accounts"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
			}
		})
	}
}

func TestTheTokenServerEndsWithASignal(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"--shared-token-dir=/s", "--allow-anonymous", "--listen=127.0.0.1:0", "--metrics-bind-address=0", "--health-probe-bind-address=0"}, &stdout, &stderr)
	if code != exitOK || !strings.Contains(stderr.String(), "the token server starts") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
