package main

import (
	"strings"
	"testing"
)

func TestARunThatIsTooSmallDoesNotFillTheTable(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		part string
		want string // in the reason; empty: it fills the table
	}{
		"the defaults are large enough":          {nil, partFresh, ""},
		"and for sessions":                       {nil, partSessions, ""},
		"and for a steady state":                 {nil, partSteady, ""},
		"and for growth":                         {nil, partGrowth, ""},
		"and for memory":                         {nil, partMemory, ""},
		"and for a rotation":                     {nil, partRotation, ""},
		"more is as good":                        {[]string{"--n=20000"}, partLatency, ""},
		"fewer tokens":                           {[]string{"--n=9999"}, partFresh, "--n is 9999 and must be at least 10000"},
		"fewer tokens in a steady state":         {[]string{"--n=200"}, partSteady, "--n is 200"},
		"the number of tokens is not sessions'":  {[]string{"--n=200"}, partSessions, ""},
		"fewer sessions":                         {[]string{"--sessions=4999"}, partSessions, "--sessions is 4999"},
		"fewer cycles":                           {[]string{"--cycles=9"}, partSteady, "--cycles is 9"},
		"fewer pods":                             {[]string{"--pods=10"}, partSteady, "--pods is 10"},
		"tokens of another life":                 {[]string{"--lifetime=5m"}, partSteady, "tokens do not live for 6m0s"},
		"tokens that are granted another life":   {[]string{"--granted=20s"}, partSteady, "tokens do not live for 6m0s"},
		"a lower rate":                           {[]string{"--mint-qps=50"}, partRotation, "--mint-qps is 50"},
		"fewer Secrets of others":                {[]string{"--secrets=5"}, partMemory, "--secrets is 5"},
		"a shorter rest":                         {[]string{"--rest=1s"}, partMemory, "--rest is 1s and must be at least 2m0s"},
		"one turn":                               {[]string{"--rounds=1"}, partFresh, "--rounds is 1"},
		"one turn of sessions is long enough":    {[]string{"--rounds=1"}, partSessions, ""},
		"shorter blocks of new tokens":           {[]string{"--latency-time=3s"}, partLatency, "--latency-time is 3s"},
		"fewer cycles with prompt delivery":      {[]string{"--prompt-cycles=1"}, partSteady, "--prompt-cycles is 1"},
		"a size that growth lacks":               {[]string{"--sizes=1000,10000"}, partGrowth, "--sizes lacks 50000"},
		"growth does not look at --n":            {[]string{"--n=1"}, partGrowth, ""},
		"one thing after the other is lamented":  {[]string{"--n=1", "--cycles=1"}, partSteady, "--n is 1 and must be at least 10000, --cycles is 1"},
		"the pods of another part are no matter": {[]string{"--pods=1"}, partFresh, ""},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := parse(test.args)
			if err != nil {
				t.Fatal(err)
			}
			got := settings.tooSmall(test.part)
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

func TestARunThatIsTooSmallOrWrongOrNotCommittedIsKeptElsewhere(t *testing.T) {
	large, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	small, err := parse([]string{"--n=200"})
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := []Row{{Verdict: Met}, {Verdict: NotMet}, {}}, []Row{{Figure: "mints", Operator: "2", Goal: "1", Verdict: Wrong}}
	for name, test := range map[string]struct {
		settings settings
		commit   string
		rows     []Row
		want     string
	}{
		"large and right":                       {large, "abc", right, "docs/performance"},
		"large, and a goal that is not met":     {large, "abc", []Row{{Verdict: NotMet}}, "docs/performance"},
		"large, and a count that is wrong":      {large, "abc", wrong, smallFolder},
		"large, and not committed":              {large, "abc-dirty", right, smallFolder},
		"small":                                 {small, "abc", right, smallFolder},
		"small, and its count is wrong as well": {small, "abc", wrong, smallFolder},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{settings: test.settings, record: &Record{Part: partFresh, Commit: test.commit, Rows: test.rows}}
			if folder, _ := b.place(partFresh); folder != test.want {
				t.Errorf("it goes to %s, want %s", folder, test.want)
			}
		})
	}
}

func TestTheCommandIsWhatAPersonTypes(t *testing.T) {
	for want, args := range map[string][]string{
		"make bench":         nil,
		"make bench N=10000": {"--n=10000"},
		"make bench N=200 ONLY=fresh,rotation ARGS='--rounds=1 --rest=1s'": {"--n=200", "--only=fresh,rotation", "--rounds=1", "--rest=1s"},
	} {
		if got := commandOf(args); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhatCannotBeMeasuredIsRefused(t *testing.T) {
	for _, args := range [][]string{{"--only=nothing"}, {"--n=0"}, {"--rounds=0"}, {"--unknown"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
