package config

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// required are the arguments without which the server does not start.
func required(more ...string) []string {
	return append([]string{"--api-key-file=/key", "--models=reactor/helios", "--allow-anonymous"}, more...)
}

func TestATokenServerStartsWithTheRequiredFlags(t *testing.T) {
	got, err := ParseTokenServer(required(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := TokenServer{
		APIKeyFile: "/key", Models: []string{"reactor/helios"}, AllowAnonymous: true,
		MinRemainingLifetime: 10 * time.Minute, APIURL: "https://api.reactor.inc", MaxSessions: 10, Lifetime: time.Hour, MintQPS: 5, MintBurst: 20, MaxCallers: 10_000,
		RequestsPerSecond: 100, CallerRequestsPerMinute: 30, Listen: ":8080", Path: "/api/token", MetricsBindAddress: ":8082", HealthProbeBindAddress: ":8081",
		LogLevel: "info", LogFormat: "json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestATokenServerAcceptsEachKindOfAuthentication(t *testing.T) {
	for name, args := range map[string][]string{
		"OIDC":                              {"--api-key-file=/key", "--models=a/b", "--oidc-issuer=https://accounts.example.com", "--oidc-audience=web", "--oidc-required-claims=hd=example.com,email_verified=true"},
		"service accounts":                  {"--shared-token-dir=/secret", "--service-accounts=studio/web,media/*", "--service-account-audience=reactor"},
		"a proxy":                           {"--shared-token-dir=/secret", "--proxy-header=X-User", "--proxy-networks=127.0.0.1/32,::1/128"},
		"anonymous callers, behind a proxy": {"--shared-token-dir=/secret", "--allow-anonymous", "--proxy-networks=10.0.0.0/8"},
		"limits that are left to Reactor":   {"--api-key-file=/key", "--models=a/b", "--allow-anonymous", "--max-sessions=0", "--max-session-duration=0", "--min-remaining-lifetime=0"},
		"an issuer on this machine":         {"--shared-token-dir=/secret", "--oidc-issuer=http://127.0.0.1:5556/dex", "--oidc-audience=web"},
		"nothing but the route":             required("--metrics-bind-address=0", "--health-probe-bind-address=0", "--tls-cert-file=/crt", "--tls-key-file=/key"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseTokenServer(args, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestATokenServerRefusesWhatCannotBeMeant(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing at all":                                 {nil, "choose how callers authenticate"},
		"no kind of caller":                              {[]string{"--shared-token-dir=/secret"}, "choose how callers authenticate"},
		"two kinds of callers":                           {required("--oidc-issuer=https://a.example", "--oidc-audience=b"), "choose how callers authenticate"},
		"no source":                                      {[]string{"--allow-anonymous"}, "no source of tokens, or two"},
		"two sources":                                    {required("--shared-token-dir=/secret"), "no source of tokens, or two"},
		"tokens for everything":                          {[]string{"--api-key-file=/key", "--allow-anonymous"}, "--models: name the models"},
		"models by a pattern":                            {[]string{"--api-key-file=/key", "--allow-anonymous", "--models=reactor/*"}, "exact names"},
		"models of the shared token":                     {[]string{"--shared-token-dir=/secret", "--allow-anonymous", "--models=a/b"}, "already has its models"},
		"a longer life than Reactor's":                   {required("--lifetime=7h"), "--lifetime=7h0m0s: write a duration from 1m to 6h"},
		"a lifetime that is used up immediately":         {required("--lifetime=5m"), "--min-remaining-lifetime=10m0s: write a duration shorter than --lifetime"},
		"a negative rest":                                {required("--min-remaining-lifetime=-1s"), "--min-remaining-lifetime=-1s"},
		"more sessions than there can be":                {required("--max-sessions=501"), "--max-sessions=501: write a number from 1 to 500"},
		"endless sessions":                               {required("--max-session-duration=25h"), "--max-session-duration=25h0m0s"},
		"an issuer that is no URL":                       {[]string{"--shared-token-dir=/s", "--oidc-issuer=accounts", "--oidc-audience=b"}, "--oidc-issuer: write the URL"},
		"an issuer whose keys can be changed in transit": {[]string{"--shared-token-dir=/s", "--oidc-issuer=http://accounts.example.com", "--oidc-audience=b"}, "only for an issuer on this machine"},
		"an issuer with a password":                      {[]string{"--shared-token-dir=/s", "--oidc-issuer=https://user:secret@a.example", "--oidc-audience=b"}, "--oidc-issuer"},
		"an issuer for every audience":                   {[]string{"--shared-token-dir=/s", "--oidc-issuer=https://a.example"}, "--oidc-audience: name the audience"},
		"a claim without a value":                        {[]string{"--shared-token-dir=/s", "--oidc-issuer=https://a.example", "--oidc-audience=b", "--oidc-required-claims=admin"}, "write name=value"},
		"accounts without an audience":                   {[]string{"--shared-token-dir=/s", "--service-accounts=studio/web"}, "--service-account-audience: name an audience"},
		"an account without a namespace":                 {[]string{"--shared-token-dir=/s", "--service-accounts=web", "--service-account-audience=a"}, "write namespace/name"},
		"every account":                                  {[]string{"--shared-token-dir=/s", "--service-accounts=*/web", "--service-account-audience=a"}, "write namespace/name"},
		"a header that any client can write":             {[]string{"--shared-token-dir=/s", "--proxy-header=X-User"}, "--proxy-networks: name the networks"},
		"a network that is none":                         {[]string{"--shared-token-dir=/s", "--proxy-header=X-User", "--proxy-networks=10.0.0.1"}, "--proxy-networks=10.0.0.1"},
		"a network with all addresses":                   {[]string{"--shared-token-dir=/s", "--proxy-header=X-User", "--proxy-networks=10.0.0.0/8,0.0.0.0/0"}, "this one contains every address"},
		"the same, of forwarded addresses":               {required("--proxy-networks=::/0"), "this one contains every address"},
		"an invalid network, in addition to OIDC":        {[]string{"--shared-token-dir=/s", "--oidc-issuer=https://a.example", "--oidc-audience=b", "--proxy-networks=x"}, "--proxy-networks=x"},
		"every origin":                                   {required("--allowed-origins=*"), "--allowed-origins=*"},
		"an origin with a path":                          {required("--allowed-origins=https://a.example/"), "--allowed-origins=https://a.example/"},
		"no requests":                                    {required("--requests-per-second=0"), "--requests-per-second=0"},
		"no path":                                        {required("--path=token"), "--path=token: write a path such as /api/token"},
		"a path that no request has":                     {required("--path=/api//token"), "--path=/api//token"},
		"a path with others below it":                    {required("--path=/api/token/"), "--path=/api/token/"},
		"no port for the route":                          {required("--listen=0"), "--listen=0: write host:port, such as :8080; without it the route is not served"},
		"the route's port for another":                   {required("--listen=:8082"), "--listen=:8082: write a port that differs"},
		"half of TLS":                                    {required("--tls-cert-file=/crt"), "set both, or neither"},
		"a port for two":                                 {required("--metrics-bind-address=:8081"), "--health-probe-bind-address"},
		"a password in the API's URL":                    {required("--api-url=https://user:secret@api.example"), "--api-url"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTokenServer(test.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret@") {
				t.Error("the message repeats a password")
			}
		})
	}
}

func TestTheHelpOfTheTokenServerDescribesEachFlag(t *testing.T) {
	var help bytes.Buffer
	if _, err := ParseTokenServer([]string{"--help"}, &help); err != pflag.ErrHelp { //nolint:errorlint // it is returned as it is
		t.Fatal(err)
	}
	for _, group := range (&TokenServer{}).flagGroups() {
		group.flags.VisitAll(func(flag *pflag.Flag) {
			if flag.Usage == "" || !strings.Contains(help.String(), "--"+flag.Name) {
				t.Errorf("--%s is not described", flag.Name)
			}
		})
	}
	for line := range strings.Lines(help.String()) {
		if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > helpWidth+4 {
			t.Errorf("the line is too long: %s", line)
		}
	}
}
