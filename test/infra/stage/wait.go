package stage

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// AllSeen waits until the operator leads, has made so many passes, and has nothing to do. Its metrics say so; the objects do not when it
// had nothing to write.
func (o *Operator) AllSeen(ctx context.Context, passes int, patience time.Duration) error {
	return o.Explain(Poll(ctx, patience, func(ctx context.Context) (bool, error) {
		text, err := Get(ctx, o.Metrics)
		if err != nil {
			return false, err
		}
		leads := Sum(text, "reactor_operator_leader") == 1
		return leads && int(Sum(text, "controller_runtime_reconcile_total")) >= passes && Sum(text, "workqueue_depth") == 0 &&
			Sum(text, "controller_runtime_active_workers") == 0, nil
	}))
}

// Sum adds up the series of a metric.
func Sum(metrics []byte, name string) float64 {
	total := 0.0
	for line := range strings.Lines(string(metrics)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if family, _, _ := strings.Cut(series, "{"); family == name {
			number, _ := strconv.ParseFloat(value, 64) // Prometheus' own format
			total += number
		}
	}
	return total
}

// Poll asks every second until it is done.
func Poll(ctx context.Context, patience time.Duration, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, time.Second, patience, true, done)
}

// await waits until a program serves, or has ended.
func await(ctx context.Context, program *process.Process, url string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := Get(ctx, url)
		return err == nil, program.Failure()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w\n%s", program.Name, err, program.Tail(5))
	}
	return nil
}

// loopback talks to programs of this machine, whose certificates are self-signed.
var loopback = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above

// Get reads what a program of this machine serves.
func Get(ctx context.Context, url string) ([]byte, error) { return Ask(ctx, http.MethodGet, url, "") }

// Ask sends a request to a program of this machine. If it refuses, the error has its answer.
func Ask(ctx context.Context, method, url, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := loopback.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, response.Status, bytes.TrimSpace(text))
	}
	return text, errors.Join(err, response.Body.Close())
}

// Pause waits, unless the context ends before; then it returns why.
func Pause(ctx context.Context, so time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(so):
		return nil
	}
}
