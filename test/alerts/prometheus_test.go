package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// server is a Prometheus that runs.
type server struct {
	*process.Process
	url string
}

// configuration scrapes as the ServiceMonitor in config/prometheus says, only more often.
const configuration = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: reactor-operator-metrics
  scheme: https
  honor_labels: true
  authorization: {credentials_file: token}
  tls_config: {insecure_skip_verify: true}
  static_configs:
  - targets: [%s]
    labels: {namespace: reactor-operator-system, service: reactor-operator-metrics, endpoint: https}
`

// startPrometheus lets Prometheus scrape the targets, with a token of a service account, and evaluate the rules.
func startPrometheus(t *testing.T, token string, rules ruleGroups, targets ...string) *server {
	t.Helper()
	binary, folder := program(t, "prometheus"), t.TempDir()
	rules.write(t, filepath.Join(folder, "rules.yaml"))
	for name, content := range map[string]string{"token": token, "prometheus.yaml": fmt.Sprintf(configuration, strings.Join(targets, ", "))} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	running, err := process.Start("prometheus", filepath.Join(folder, "prometheus.log"), os.Environ(), binary,
		"--config.file="+filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		running.Stop()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", running.Tail(20))
		}
	})
	s := &server{Process: running, url: "http://" + address}
	expect.Eventually(t, "prometheus to serve", func() error {
		_, err := s.query(t.Context(), "vector(1)")
		return err
	})
	return s
}

// series is one result of a query. Of a range it is the first value.
type series struct {
	labels map[string]string
	value  float64
}

// query asks for the value of an expression now.
func (s *server) query(ctx context.Context, expr string) ([]series, error) {
	return s.ask(ctx, "/api/v1/query", url.Values{"query": {expr}})
}

// queryRange asks for the values of an expression over a time.
func (s *server) queryRange(ctx context.Context, expr string, start, end time.Time) ([]series, error) {
	return s.ask(ctx, "/api/v1/query_range", url.Values{
		"query": {expr}, "step": {"1s"}, "start": {start.Format(time.RFC3339)}, "end": {end.Format(time.RFC3339)},
	})
}

func (s *server) ask(ctx context.Context, path string, form url.Values) ([]series, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  *[2]any
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", form.Get("query"), answer.Error)
	}
	var found []series
	for _, result := range answer.Data.Result {
		sample := result.Value
		if sample == nil && len(result.Values) > 0 {
			sample = &result.Values[0]
		}
		if sample == nil {
			return nil, errors.New("a series without a value")
		}
		value, err := strconv.ParseFloat(fmt.Sprint(sample[1]), 64)
		if err != nil {
			return nil, err
		}
		found = append(found, series{labels: result.Metric, value: value})
	}
	return found, nil
}
