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

// least are arguments that say what has to be said.
func least(more ...string) []string {
	return append([]string{"--api-key-file=/key", "--models=reactor/helios", "--allow-anonymous"}, more...)
}

func TestATokenServerStartsWithWhatHasToBeSaid(t *testing.T) {
	got, err := ParseTokenServer(least(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := TokenServer{
		APIKeyFile: "/key", Models: []string{"reactor/helios"}, AllowAnonymous: true,
		LeastLife: 10 * time.Minute, APIURL: "https://api.reactor.inc", MaxSessions: 10, Lifetime: time.Hour, MintQPS: 5, MintBurst: 20, MaxCallers: 10_000,
		RequestsPerSecond: 100, CallerRequestsPerMinute: 30, Listen: ":8080", Path: "/api/token", MetricsBindAddress: ":8082", HealthProbeBindAddress: ":8081",
		LogLevel: "info", LogFormat: "json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestATokenServerTakesEachWayToTellWhoMayAsk(t *testing.T) {
	for name, args := range map[string][]string{
		"OIDC":                            {"--api-key-file=/key", "--models=a/b", "--oidc-issuer=https://accounts.example.com", "--oidc-audience=web", "--oidc-required-claims=hd=example.com,email_verified=true"},
		"service accounts":                {"--one-token-for-all=/secret", "--service-accounts=studio/web,media/*", "--service-account-audience=reactor"},
		"a proxy":                         {"--one-token-for-all=/secret", "--proxy-header=X-User", "--proxy-networks=127.0.0.1/32,::1/128"},
		"anybody, behind a proxy":         {"--one-token-for-all=/secret", "--allow-anonymous", "--proxy-networks=10.0.0.0/8"},
		"limits that are left to Reactor": {"--api-key-file=/key", "--models=a/b", "--allow-anonymous", "--max-sessions=0", "--max-session-duration=0", "--least-life=0"},
		"an issuer on this machine":       {"--one-token-for-all=/secret", "--oidc-issuer=http://127.0.0.1:5556/dex", "--oidc-audience=web"},
		"nothing but the route":           least("--metrics-bind-address=0", "--health-probe-bind-address=0", "--tls-cert-file=/crt", "--tls-key-file=/key"),
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
		"nothing at all":                  {nil, "say who may ask"},
		"nobody who may ask":              {[]string{"--one-token-for-all=/secret"}, "say who may ask"},
		"two who may ask":                 {least("--oidc-issuer=https://a.example", "--oidc-audience=b"), "say who may ask"},
		"no source":                       {[]string{"--allow-anonymous"}, "say where tokens come from"},
		"two sources":                     {least("--one-token-for-all=/secret"), "say where tokens come from"},
		"tokens for everything":           {[]string{"--api-key-file=/key", "--allow-anonymous"}, "--models: name the models"},
		"models by a pattern":             {[]string{"--api-key-file=/key", "--allow-anonymous", "--models=reactor/*"}, "exact names"},
		"models of the shared token":      {[]string{"--one-token-for-all=/secret", "--allow-anonymous", "--models=a/b"}, "has its models already"},
		"a longer life than Reactor's":    {least("--lifetime=7h"), "--lifetime=7h0m0s: write a duration from 1m to 6h"},
		"a life that is used up at once":  {least("--lifetime=5m"), "--least-life=10m0s: write a duration shorter than --lifetime"},
		"a negative rest":                 {least("--least-life=-1s"), "--least-life=-1s"},
		"more sessions than there can be": {least("--max-sessions=501"), "--max-sessions=501: write a number from 1 to 500"},
		"endless sessions":                {least("--max-session-duration=25h"), "--max-session-duration=25h0m0s"},
		"an issuer that is no URL":        {[]string{"--one-token-for-all=/s", "--oidc-issuer=accounts", "--oidc-audience=b"}, "--oidc-issuer: write the URL"},
		"an issuer whose keys anybody on the way can change": {[]string{"--one-token-for-all=/s", "--oidc-issuer=http://accounts.example.com", "--oidc-audience=b"}, "only for one on this machine"},
		"an issuer with a password":                          {[]string{"--one-token-for-all=/s", "--oidc-issuer=https://user:secret@a.example", "--oidc-audience=b"}, "--oidc-issuer"},
		"an issuer for everybody":                            {[]string{"--one-token-for-all=/s", "--oidc-issuer=https://a.example"}, "--oidc-audience: name the audience"},
		"a claim without a value":                            {[]string{"--one-token-for-all=/s", "--oidc-issuer=https://a.example", "--oidc-audience=b", "--oidc-required-claims=admin"}, "write name=value"},
		"accounts without an audience":                       {[]string{"--one-token-for-all=/s", "--service-accounts=studio/web"}, "--service-account-audience: name an audience"},
		"an account without a namespace":                     {[]string{"--one-token-for-all=/s", "--service-accounts=web", "--service-account-audience=a"}, "write namespace/name"},
		"every account":                                      {[]string{"--one-token-for-all=/s", "--service-accounts=*/web", "--service-account-audience=a"}, "write namespace/name"},
		"a header that anybody writes":                       {[]string{"--one-token-for-all=/s", "--proxy-header=X-User"}, "--proxy-networks: name the networks"},
		"a network that is none":                             {[]string{"--one-token-for-all=/s", "--proxy-header=X-User", "--proxy-networks=10.0.0.1"}, "--proxy-networks=10.0.0.1"},
		"a network with everybody in it":                     {[]string{"--one-token-for-all=/s", "--proxy-header=X-User", "--proxy-networks=10.0.0.0/8,0.0.0.0/0"}, "in this one is everybody"},
		"the same, of forwarded addresses":                   {least("--proxy-networks=::/0"), "in this one is everybody"},
		"a network that is none, beside OIDC":                {[]string{"--one-token-for-all=/s", "--oidc-issuer=https://a.example", "--oidc-audience=b", "--proxy-networks=x"}, "--proxy-networks=x"},
		"every origin":                                       {least("--allowed-origins=*"), "--allowed-origins=*"},
		"an origin with a path":                              {least("--allowed-origins=https://a.example/"), "--allowed-origins=https://a.example/"},
		"no requests":                                        {least("--requests-per-second=0"), "--requests-per-second=0"},
		"no path":                                            {least("--path=token"), "--path=token: write a path such as /api/token"},
		"a path that no request has":                         {least("--path=/api//token"), "--path=/api//token"},
		"a path with others below it":                        {least("--path=/api/token/"), "--path=/api/token/"},
		"no port for the route":                              {least("--listen=0"), "--listen=0: write host:port, such as :8080: without it nothing is served"},
		"the route's port for another":                       {least("--listen=:8082"), "--listen=:8082: write another port"},
		"half of TLS":                                        {least("--tls-cert-file=/crt"), "write both, or none"},
		"a port for two":                                     {least("--metrics-bind-address=:8081"), "--health-probe-bind-address"},
		"a password in the API's URL":                        {least("--api-url=https://user:secret@api.example"), "--api-url"},
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
