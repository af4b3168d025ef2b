package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/process"
)

// allReady waits until every ReactorToken is Ready.
func (m *measurement) allReady(ctx context.Context) error {
	return poll(ctx, func(ctx context.Context) (bool, error) {
		tokens := v1alpha1.ReactorTokenList{}
		err := m.kube.List(ctx, &tokens)
		return !slices.ContainsFunc(tokens.Items, func(token v1alpha1.ReactorToken) bool {
			return !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
		}), err
	})
}

// allHavePods waits until the operator has made a pod for each session.
func (m *measurement) allHavePods(ctx context.Context) error {
	return poll(ctx, func(ctx context.Context) (bool, error) {
		pods := corev1.PodList{}
		err := m.kube.List(ctx, &pods)
		return len(pods.Items) >= m.sessions, err
	})
}

// allSeen waits until the operator that has just started has looked at all objects. Its metrics say so; the objects do not, since it has
// nothing to write.
func (m *measurement) allSeen(ctx context.Context) error {
	count := 0
	for _, kind := range []client.ObjectList{&v1alpha1.ReactorTokenList{}, &v1alpha1.ReactorSessionList{}} {
		if err := m.kube.List(ctx, kind); err != nil {
			return err
		}
		count += meta.LenList(kind)
	}
	return poll(ctx, func(ctx context.Context) (bool, error) {
		text, err := get(ctx, m.metrics)
		if err != nil {
			return false, err
		}
		leads := sum(text, "reactor_operator_leader") == 1
		return leads && int(sum(text, "controller_runtime_reconcile_total")) >= count && sum(text, "workqueue_depth") == 0, nil
	})
}

// sum adds up the series of a metric.
func sum(metrics []byte, name string) float64 {
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

func poll(ctx context.Context, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, time.Second, patience, true, done)
}

// await waits until a program serves, or has ended.
func await(ctx context.Context, program *process.Process, url string) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := get(ctx, url)
		return err == nil, program.Failure()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w\n%s", program.Name, err, program.Tail(5))
	}
	return nil
}

// loopback talks to programs of this machine, whose certificates are self-signed.
var loopback = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := loopback.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	if response.StatusCode/100 != 2 {
		err = errors.New(response.Status)
	}
	return text, errors.Join(err, response.Body.Close())
}
