package main

import (
	"strings"
	"testing"
)

func TestRunAnswersQuestionsWithoutACluster(t *testing.T) {
	t.Setenv("KUBECONFIG", "/does/not/exist")
	for name, test := range map[string]struct {
		args                 []string
		wantCode             int
		wantStdout, wantLine string // the start of each stream
	}{
		"--help":            {[]string{"--help"}, exitOK, "Reactor Operator keeps", ""},
		"-h":                {[]string{"-h"}, exitOK, "Reactor Operator keeps", ""},
		"--version":         {[]string{"--version"}, exitOK, "reactor-operator devel\n", ""},
		"drain --help":      {[]string{"drain", "--help"}, exitOK, "Ends what runs", ""},
		"a wrong drain":     {[]string{"drain", "--timeout=0s"}, exitUsage, "", "--timeout=0s: write a duration such as 4m\n"},
		"no such drain":     {[]string{"drain", "--mint-qps=1"}, exitUsage, "", "unknown flag: --mint-qps; --help lists the flags\n"},
		"a drain without controllers": {[]string{"drain", "--log-format=text"}, exitFailed, "", "time="},
		"an unknown flag":   {[]string{"--kubeconfig=x"}, exitUsage, "", "unknown flag: --kubeconfig; --help lists the flags\n"},
		"two wrong values":  {[]string{"--mint-qps=0", "--mint-burst=0"}, exitUsage, "", "--mint-qps=0: write a number greater than 0, such as 20\n--mint-burst=0: "},
		"a missing cluster": {[]string{"--log-format=text"}, exitFailed, "", "time="},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := run(t.Context(), test.args, &stdout, &stderr); code != test.wantCode {
				t.Errorf("exit code %d, want %d", code, test.wantCode)
			}
			for stream, want := range map[*strings.Builder]string{&stdout: test.wantStdout, &stderr: test.wantLine} {
				if got := stream.String(); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}
