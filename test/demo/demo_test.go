package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// jwtOf returns a JWT with these claims and a signature of some length.
func jwtOf(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(claims)) + "." + part([]byte("not really signed"))
}

func TestDecodeJWTFindsWhatTheTableNeeds(t *testing.T) {
	got, err := decodeJWT(jwtOf(`{"jti":"0123456789ab","iat":1795400000,"exp":1795400020,"sub":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := token{
		header: `{"alg":"HS256"}`, claims: `{"jti":"0123456789ab","iat":1795400000,"exp":1795400020,"sub":"a"}`, id: "0123456789ab",
		issued: time.Unix(1795400000, 0).UTC(), expires: time.Unix(1795400020, 0).UTC(),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(token{})); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	const description = `  header  {"alg":"HS256"}
  exp  1795400020  (02:13:40Z)
  iat  1795400000  (02:13:20Z)
  jti  "0123456789ab"
  sub  "a"`
	if diff := cmp.Diff(description, got.describe()); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}

func TestDecodeJWTRefusesWhatIsNoneAndDoesNotQuoteIt(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                  "",
		"a word":                   "precious",
		"too many parts":           "precious.a.b.c",
		"a header that is no text": "precious!.e30.c2ln",
		"claims that are no text":  "e30.precious!.c2ln",
		"claims that are no JSON":  "e30." + base64.RawURLEncoding.EncodeToString([]byte("precious")) + ".c2ln",
		"no exp":                   jwtOf(`{"jti":"precious"}`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeJWT(text)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if strings.Contains(err.Error(), "precious") {
				t.Errorf("the error quotes it: %v", err)
			}
		})
	}
}

func TestTheVeilLeavesOnlyTheBeginningOfASecret(t *testing.T) {
	const key = "rk_demo_abcdefghijklmnop"
	jwt := jwtOf(`{"exp":1795400020}`)
	var v veil
	v.hide(key)
	encode := base64.StdEncoding.EncodeToString
	for name, secret := range map[string]string{
		"a key": key, "a key in base64": encode([]byte(key)), "a JWT": jwt, "a JWT in base64": encode([]byte(jwt)),
	} {
		t.Run(name, func(t *testing.T) {
			got := v.over("before " + secret + " after")
			if !strings.HasPrefix(got, "before "+secret[:6]) || !strings.HasSuffix(got, " after") || !strings.Contains(got, "…") {
				t.Errorf("not recognizable: %s", got)
			}
			if strings.Contains(got, secret[:len(secret)/2]) || strings.Contains(got, secret[len(secret)/2:]) {
				t.Errorf("half of it can be read: %s", got)
			}
		})
	}
	if plain := `{"fingerprint":"4213589b07950518"}`; v.over(plain) != plain {
		t.Errorf("%s became %s", plain, v.over(plain))
	}
}

func TestTheExitCodeIs0OnlyIfEverythingWasSeen(t *testing.T) {
	yes, no := row{what: "renewal", ok: true}, row{what: "rotation"}
	for name, test := range map[string]struct {
		rows []row
		err  error
		want int
	}{
		"all seen":                          {[]row{yes, yes}, nil, 0},
		"one not seen":                      {[]row{yes, no, yes}, nil, 1},
		"nothing looked at":                 {nil, nil, 1},
		"all seen until it could not go on": {[]row{yes}, errors.New("no control plane"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(test.rows, test.err); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestTheTableWrapsItsCells(t *testing.T) {
	var out bytes.Buffer
	newPrinter(&out, false).table([]row{
		{"renewal", "another before 06:09:07Z", "45a5268f → b066b3dd, 06:08:59Z", true},
		{"Secret deleted", "another, with a valid token", `secrets "web" is forbidden: User "somebody" cannot get it`, false},
		{"a long word", "x", strings.Repeat("y", 40), false},
	})
	const want = `
  what                   expected                       seen                             ok
  ─────────────────────  ─────────────────────────────  ───────────────────────────────  ───
  renewal                another before 06:09:07Z       45a5268f → b066b3dd, 06:08:59Z   yes
  Secret deleted         another, with a valid token    secrets "web" is forbidden:      NO
                                                        User "somebody" cannot get it
  a long word            x                              yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy  NO
                                                        yyyyyyyyy
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(out.String()) {
		if utf8.RuneCountInString(line) > width+1 {
			t.Errorf("too wide: %q", line)
		}
	}
}

func TestColourIsOnlyForTerminals(t *testing.T) {
	shownWith := func(colour bool) string {
		var out bytes.Buffer
		p := newPrinter(&out, colour)
		p.heading("1  Start")
		p.command("kubectl get rtok")
		p.good("ready")
		p.table([]row{{"a", "b", "c", false}})
		return out.String()
	}
	if strings.Contains(shownWith(false), "\x1b") {
		t.Error("escape sequences without colour")
	}
	if !strings.Contains(shownWith(true), "\x1b[36m  $ kubectl get rtok\x1b[0m\n") {
		t.Errorf("no colour: %q", shownWith(true))
	}
}

func TestOutputOfProgramsIsFolded(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		want []string
	}{
		"short":         {"NAME   READY", []string{"NAME   READY"}},
		"between words": {"one two  three four five", []string{"one two", "three", "four", "five"}},
		"a long word":   {"abcdefghijklmnop", []string{"abcdefghijkl", "mnop"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, fold(test.line, 12)); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLedgerTellsWhereATokenComesFrom(t *testing.T) {
	l := ledger{Mints: 1, Calls: []call{{Key: "a", Status: 401}, {Key: "b", Status: 200, JTI: "t"}}}
	if got, ok := l.of("t"); !ok || got.Key != "b" {
		t.Errorf("of(t) = %v, %v", got, ok)
	}
	if got, ok := l.of(""); ok {
		t.Errorf("a token without an id comes from %v", got)
	}
	if diff := cmp.Diff([]call{{Key: "a", Status: 401}}, l.refused()); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if len(l.Calls) != 2 || l.Calls[1].JTI != "t" {
		t.Errorf("the ledger has changed: %v", l.Calls)
	}
}

func TestTheLedgerNamesTheOneSessionThatIsOpen(t *testing.T) {
	over, one, other := billed{ID: "a", EndReason: "deleted"}, billed{ID: "b"}, billed{ID: "c"}
	for name, test := range map[string]struct {
		sessions []billed
		want     string
	}{
		"one beside one that is over": {[]billed{over, one}, "b"},
		"none":                        {[]billed{over}, ""},
		"two":                         {[]billed{one, other}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (ledger{Sessions: test.sessions}).open(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want settings
	}{
		"nothing set": {nil, settings{apiURL: "https://api.reactor.inc"}},
		"once":        {map[string]string{"DEMO_ONCE": "1"}, settings{once: true, apiURL: "https://api.reactor.inc"}},
		"a node":      {map[string]string{"NODE_ASSETS": "/n"}, settings{node: "/n", apiURL: "https://api.reactor.inc"}},
		"not once":    {map[string]string{"DEMO_ONCE": "0"}, settings{apiURL: "https://api.reactor.inc"}},
		"broken ends by itself": {map[string]string{"DEMO_BROKEN": "1"},
			settings{once: true, broken: true, apiURL: "https://api.reactor.inc"}},
		"the real API": {map[string]string{"REACTOR_API_KEY": "rk_x", "REACTOR_API_URL": "https://example.com", "KUBEBUILDER_ASSETS": "/k"},
			settings{apiKey: "rk_x", apiURL: "https://example.com", binaries: "/k"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := settingsFrom(func(name string) string { return test.env[name] }, nil)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(settings{})); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsLeftOutIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		settings settings
		want     bool
	}{
		"without a node":                       {settings{}, true},
		"with a node":                          {settings{node: "/n"}, false},
		"with the real API, which has no pods": {settings{node: "/n", apiKey: "rk_x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := &demo{settings: test.settings, say: newPrinter(&out, false), rows: []row{{what: "renewal", ok: true}}}
			d.showTable()
			said := strings.Join(strings.Fields(out.String()), " ")
			if got := strings.Contains(said, `"A session fails, and says why"`); got != test.want {
				t.Errorf("said to be left out: %t, want %t: %s", got, test.want, said)
			}
		})
	}
}
