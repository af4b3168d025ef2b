package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// Validate returns all problems in one error. Each names the flag and says what to write instead.
func (c *Config) Validate() error {
	return errors.Join(
		checkAPIURL(c.APIURL),
		checkRate("mint-qps", c.MintQPS, "20"),
		checkAtLeastOne("mint-burst", c.MintBurst),
		checkNamespaces("namespaces", c.Namespaces),
		checkControllers(c.Controllers),
		checkNotNegative("sessions-per-key", c.SessionsPerKey),
		checkNotNegative("session-starts-per-minute", c.SessionStartsPerMinute),
		checkAtLeastOne("concurrency", c.Concurrency),
		checkNamespace("leader-election-namespace", c.LeaderElectionNamespace),
		checkKubeAPIQPS(float64(c.KubeAPIQPS)),
		checkAtLeastOne("kube-api-burst", c.KubeAPIBurst),
		checkBindAddress("metrics-bind-address", c.MetricsBindAddress, ":8443"),
		checkBindAddress("health-probe-bind-address", c.HealthProbeBindAddress, ":8081"),
		checkLoopbackAddress("pprof-bind-address", c.PprofBindAddress, "127.0.0.1:6060"),
		checkDistinctPorts(c.MetricsBindAddress, c.HealthProbeBindAddress),
		checkOneOf("log-level", c.LogLevel, logging.Levels()),
		checkOneOf("log-format", c.LogFormat, logging.Formats()),
	)
}

// problem is the one form of a complaint.
func problem(flag string, value any, instead string) error {
	return fmt.Errorf("--%s=%v: write %s", flag, value, instead)
}

func checkNotNegative(flag string, value int) error {
	if value < 0 {
		return problem(flag, value, "a number, or 0 for no limit")
	}
	return nil
}

// maxAPIURL is the MaxLength of status.lastFailure.apiURL of a ReactorToken, in Unicode code points: with a longer URL, the API server
// would refuse every status that reports a failure.
const maxAPIURL = 1024

// checkAPIURL does not repeat the URL: it may hold a password, which is one of the things that are refused here.
func checkAPIURL(text string) error {
	const instead = "an absolute http or https URL without user, query and fragment, such as https://api.reactor.inc"
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil ||
		parsed.RawQuery != "" || parsed.ForceQuery || strings.Contains(text, "#") ||
		(parsed.Scheme != "https" && parsed.Scheme != "http") {
		return errors.New("--api-url: write " + instead)
	}
	if length := utf8.RuneCountInString(text); length > maxAPIURL {
		return fmt.Errorf("--api-url: write a URL of at most %d characters: it has %d", maxAPIURL, length)
	}
	return nil
}

func checkRate(flag string, value float64, example string) error {
	if value > 0 && !math.IsInf(value, 0) {
		return nil
	}
	return problem(flag, value, "a number greater than 0, such as "+example)
}

func checkKubeAPIQPS(value float64) error {
	if value >= 0 && !math.IsInf(value, 0) {
		return nil
	}
	return problem("kube-api-qps", value, "a positive number, such as 200, or 0 for no limit of the operator's own")
}

func checkAtLeastOne(flag string, value int) error {
	if value >= 1 {
		return nil
	}
	return problem(flag, value, "a whole number of at least 1")
}

func checkNamespaces(flag string, namespaces []string) error {
	problems := make([]error, 0, len(namespaces))
	for _, namespace := range namespaces {
		if namespace == "" {
			problems = append(problems, problem(flag, strings.Join(namespaces, ","), "the namespaces with one comma between two of them"))
			continue
		}
		problems = append(problems, checkNamespace(flag, namespace))
	}
	return errors.Join(problems...)
}

func checkNamespace(flag, namespace string) error {
	if namespace == "" || len(validation.IsDNS1123Label(namespace)) == 0 {
		return nil
	}
	return problem(flag, namespace, "the name of a namespace: lowercase letters, digits and '-', at most 63 of them")
}

func checkControllers(controllers []string) error {
	known := "one or more of " + strings.Join(KnownControllers(), ", ")
	if len(controllers) == 0 {
		return problem("controllers", "", known)
	}
	problems := make([]error, 0, len(controllers))
	for _, controller := range controllers {
		if !slices.Contains(KnownControllers(), controller) {
			problems = append(problems, problem("controllers", controller, known))
		}
	}
	return errors.Join(problems...)
}

func checkBindAddress(flag, address, example string) error {
	if address == Off {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return problem(flag, address, "host:port, such as "+example+" for all addresses of the machine, or 0 to turn it off")
	}
	return nil
}

// checkLoopbackAddress requires an IP address, because a host name can be resolved to another address.
func checkLoopbackAddress(flag, address, example string) error {
	if address == Off {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return problem(flag, address, "a loopback address and a port, such as "+example+", or 0 to turn it off")
	}
	return nil
}

// checkDistinctPorts finds what would otherwise show as a failure to listen. Port 0 is any free port.
func checkDistinctPorts(metrics, probes string) error {
	if metrics != probes || metrics == Off || strings.HasSuffix(metrics, ":0") {
		return nil
	}
	return problem("health-probe-bind-address", probes, "another port than that of --metrics-bind-address")
}

func checkOneOf(flag, value string, known []string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return problem(flag, value, "one of "+strings.Join(known, ", "))
}
