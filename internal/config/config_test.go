package config

import (
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// documented are all flags, in the order of the help, and one value of each that is not its default.
var documented = []struct{ name, other string }{
	{"api-url", "http://127.0.0.1:8080"},
	{"ca-bundle", "/etc/roots.pem"},
	{"mint-qps", "0.5"},
	{"mint-burst", "1"},
	{"namespaces", "studio,media"},
	{"controllers", "tokens"},
	{"sessions-per-key", "0"},
	{"session-starts-per-minute", "60"},
	{"concurrency", "2"},
	{"allow-restart", "true"},
	{"allow-prompt-delivery", "true"},
	{"leader-elect", "false"},
	{"leader-election-namespace", "reactor-system"},
	{"kube-api-qps", "0"},
	{"kube-api-burst", "1"},
	{"metrics-bind-address", "0"},
	{"metrics-auth", "false"},
	{"metrics-per-object", "false"},
	{"health-probe-bind-address", "127.0.0.1:9000"},
	{"pprof-bind-address", "127.0.0.1:6060"},
	{"log-level", "debug"},
	{"log-format", "text"},
	{"version", "true"},
}

func TestParseWithoutFlagsIsValidAndHasTheDocumentedDefaults(t *testing.T) {
	got, err := Parse(nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		APIURL:                 "https://api.reactor.inc",
		MintQPS:                20,
		MintBurst:              40,
		Controllers:            []string{"tokens", "sessions"},
		SessionsPerKey:         5,
		SessionStartsPerMinute: 10,
		Concurrency:            8,
		LeaderElect:            true,
		KubeAPIQPS:             200,
		KubeAPIBurst:           400,
		MetricsBindAddress:     ":8443",
		MetricsAuth:            true,
		MetricsPerObject:       true,
		HealthProbeBindAddress: ":8081",
		PprofBindAddress:       "0",
		LogLevel:               "info",
		LogFormat:              "json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestEveryFlagReachesItsField(t *testing.T) {
	var args []string
	for _, flag := range documented {
		args = append(args, "--"+flag.name+"="+flag.other)
	}
	got, err := Parse(args, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		APIURL:                  "http://127.0.0.1:8080",
		CABundle:                "/etc/roots.pem",
		MintQPS:                 0.5,
		MintBurst:               1,
		Namespaces:              []string{"studio", "media"},
		Controllers:             []string{"tokens"},
		SessionStartsPerMinute:  60,
		Concurrency:             2,
		AllowRestart:            true,
		AllowPromptDelivery:     true,
		LeaderElectionNamespace: "reactor-system",
		KubeAPIBurst:            1,
		MetricsBindAddress:      "0",
		HealthProbeBindAddress:  "127.0.0.1:9000",
		PprofBindAddress:        "127.0.0.1:6060",
		LogLevel:                "debug",
		LogFormat:               "text",
		Version:                 true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if fields := reflect.TypeFor[Config]().NumField(); fields != len(documented) {
		t.Errorf("%d fields, but %d flags are tested", fields, len(documented))
	}
}

func TestParseDoesNotReadTheEnvironment(t *testing.T) {
	t.Setenv("REACTOR_API_URL", "https://collector.example")
	got, err := Parse(nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if got.APIURL != "https://api.reactor.inc" {
		t.Errorf("the API is taken to be at %s", got.APIURL)
	}
}

func TestParseSaysWhatToWriteInstead(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string // all lines of the error
	}{
		"a flag that does not exist": {[]string{"--api"}, "unknown flag: --api; --help lists the flags"},
		"an argument":                {[]string{"start"}, `unexpected argument "start": write flags only, as --name=value`},
		"text for a number":          {[]string{"--mint-qps=fast"}, "--mint-qps=fast: write a number"},
		"a fraction for a count":     {[]string{"--mint-burst=1.5"}, "--mint-burst=1.5: write a whole number"},
		"text for a switch":          {[]string{"--leader-elect=maybe"}, "--leader-elect=maybe: write true or false"},
		"a host for the API": {[]string{"--api-url=api.reactor.inc"},
			"--api-url: write an absolute http or https URL without user, query and fragment, such as https://api.reactor.inc"},
		"a password in the API's URL, which is not repeated": {[]string{"--api-url=https://u:hunter2@api.reactor.inc"},
			"--api-url: write an absolute http or https URL without user, query and fragment, such as https://api.reactor.inc"},
		"an API's URL that no status can hold": {[]string{"--api-url=https://proxy.example/" + strings.Repeat("x", 1025-len("https://proxy.example/"))},
			"--api-url: write a URL of at most 1024 characters: it has 1025"},
		"no mints at all":        {[]string{"--mint-qps=0"}, "--mint-qps=0: write a number greater than 0, such as 20"},
		"no burst":               {[]string{"--mint-burst=0"}, "--mint-burst=0: write a whole number of at least 1"},
		"no workers":             {[]string{"--concurrency=-1"}, "--concurrency=-1: write a whole number of at least 1"},
		"a hole in a list":       {[]string{"--namespaces=a,,b"}, "--namespaces=a,,b: write the namespaces with one comma between two of them"},
		"a name that is none":    {[]string{"--namespaces=a,B"}, "--namespaces=B: write the name of a namespace: lowercase letters, digits and '-', at most 63 of them"},
		"an unknown controller":  {[]string{"--controllers=tokens,session"}, "--controllers=session: write one or more of tokens, sessions"},
		"a negative limit":       {[]string{"--sessions-per-key=-1"}, "--sessions-per-key=-1: write a number, or 0 for no limit"},
		"no controller":          {[]string{"--controllers="}, "--controllers=: write one or more of tokens, sessions"},
		"a port without a colon": {[]string{"--metrics-bind-address=8443"}, "--metrics-bind-address=8443: write host:port, such as :8443 for all addresses of the machine, or 0 to turn it off"},
		"a port that is none":    {[]string{"--health-probe-bind-address=:http"}, "--health-probe-bind-address=:http: write host:port, such as :8081 for all addresses of the machine, or 0 to turn it off"},
		"profiles for every client": {[]string{"--pprof-bind-address=:6060"},
			"--pprof-bind-address=:6060: write a loopback address and a port, such as 127.0.0.1:6060, or 0 to turn it off"},
		"profiles at a name": {[]string{"--pprof-bind-address=localhost:6060"},
			"--pprof-bind-address=localhost:6060: write a loopback address and a port, such as 127.0.0.1:6060, or 0 to turn it off"},
		"profiles at no port": {[]string{"--pprof-bind-address=127.0.0.1:http"},
			"--pprof-bind-address=127.0.0.1:http: write a loopback address and a port, such as 127.0.0.1:6060, or 0 to turn it off"},
		"one port for two servers": {[]string{"--metrics-bind-address=:8081"},
			"--health-probe-bind-address=:8081: write another port than that of --metrics-bind-address"},
		"an unknown level": {[]string{"--log-level=trace"}, "--log-level=trace: write one of debug, info, warn, error"},
		"several problems at the same time": {[]string{"--log-format=xml", "--kube-api-qps=-5", "--kube-api-burst=0", "--leader-election-namespace=a/b"},
			"--leader-election-namespace=a/b: write the name of a namespace: lowercase letters, digits and '-', at most 63 of them\n" +
				"--kube-api-qps=-5: write a positive number, such as 200, or 0 for no limit of the operator's own\n" +
				"--kube-api-burst=0: write a whole number of at least 1\n" +
				"--log-format=xml: write one of json, text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.args, t.Output())
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateRefusesNumbersThatAreNone(t *testing.T) {
	for name, value := range map[string]float64{"not a number": math.NaN(), "infinity": math.Inf(1), "less than nothing": -1} {
		t.Run(name, func(t *testing.T) {
			config := defaults()
			config.MintQPS, config.KubeAPIQPS = value, float32(value)
			err := config.Validate()
			if err == nil || strings.Count(err.Error(), "qps") != 2 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestValidateAcceptsWhatTheHelpPromises(t *testing.T) {
	for name, args := range map[string][]string{
		"both servers off":           {"--metrics-bind-address=0", "--health-probe-bind-address=0"},
		"any free port for both":     {"--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0"},
		"IPv6":                       {"--metrics-bind-address=[::1]:8443", "--pprof-bind-address=[::1]:6060"},
		"the API below a path":       {"--api-url=https://proxy.example/reactor/"},
		"the longest URL of the API": {"--api-url=https://proxy.example/" + strings.Repeat("ä", 1024-len("https://proxy.example/"))},
		"an empty list: everywhere":  {"--namespaces="},
		"a list in several flags":    {"--namespaces=a", "--namespaces=b"},
		"no limit of our own":        {"--kube-api-qps=0"},
		"the pod's namespace by ''":  {"--leader-election-namespace="},
		"a namespace watched twice":  {"--namespaces=a,a"},
		"a flag and then its value":  {"--mint-qps", "3"},
		"a switch without its value": {"--allow-restart"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(args, t.Output()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHelpShowsEveryFlagOnceAndFitsTheTerminal(t *testing.T) {
	var out strings.Builder
	if _, err := Parse([]string{"--help"}, &out); !errors.Is(err, pflag.ErrHelp) {
		t.Fatalf("got %v, want pflag.ErrHelp", err)
	}
	var names, want []string
	for line := range strings.Lines(out.String()) {
		if len(strings.TrimRight(line, "\n")) > helpWidth {
			t.Errorf("wider than %d columns: %s", helpWidth, line)
		}
		if name, found := strings.CutPrefix(line, "  --"); found {
			names = append(names, strings.Fields(name)[0])
		}
	}
	for _, flag := range documented {
		want = append(want, flag.name)
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	for _, part := range []string{"(default https://api.reactor.inc)", "--allow-restart\n", "(default tokens,sessions)", "(default true)"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the help lacks %q", part)
		}
	}
}

func TestADrainTakesWhereToWorkAndHowLong(t *testing.T) {
	got, err := ParseDrain([]string{"--namespaces=studio,media", "--api-url=https://reactor.test", "--timeout=90s", "--log-level=debug"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := Drain{Config: defaults(), Timeout: 90 * time.Second}
	want.Namespaces, want.APIURL, want.LogLevel = []string{"studio", "media"}, "https://reactor.test", "debug"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := ParseDrain([]string{"--timeout=soon", "--namespaces=Studio"}, io.Discard); err == nil || err.Error() != "--timeout=soon: write a duration such as 4m" {
		t.Errorf("got %v", err)
	}
}
