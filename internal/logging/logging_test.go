package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
)

// line is what a test looks at in a JSON line.
type line struct {
	Level  string `json:"level"`
	Msg    string `json:"msg"`
	Err    string `json:"err,omitempty"`
	Object struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"object,omitzero"`
}

func linesOf(t *testing.T, out *bytes.Buffer) []line {
	t.Helper()
	var lines []line
	for text := range strings.Lines(out.String()) {
		var parsed line
		if err := json.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatalf("not a line of JSON: %q: %v", text, err)
		}
		lines = append(lines, parsed)
	}
	return lines
}

func writeOneOfEach(logger logr.Logger) {
	logger.V(5).Info("client-go's chatter")
	logger.V(4).Info("four")
	logger.V(1).Info("one")
	logger.Info("zero")
	logger.Error(errors.New("no route"), "failed")
}

func TestLevel(t *testing.T) {
	failed := line{Level: "ERROR", Msg: "failed", Err: "no route"}
	info := line{Level: "INFO", Msg: "zero"}
	for name, test := range map[string]struct {
		level string
		want  []line
	}{
		"debug shows V(1) to V(4), all named DEBUG": {LevelDebug, []line{{Level: "DEBUG", Msg: "four"}, {Level: "DEBUG", Msg: "one"}, info, failed}},
		"info leaves V(1) out":                      {LevelInfo, []line{info, failed}},
		"warn shows errors":                         {LevelWarn, []line{failed}},
		"error shows errors":                        {LevelError, []line{failed}},
		"an unknown level counts as info":           {"loud", []line{info, failed}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			writeOneOfEach(logr.FromSlogHandler(NewHandler(&out, test.level, FormatJSON)))
			if diff := cmp.Diff(test.want, linesOf(t, &out)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnObjectIsWrittenByNamespaceAndName(t *testing.T) {
	var out bytes.Buffer
	logr.FromSlogHandler(NewHandler(&out, LevelInfo, FormatJSON)).Info("seen", "object", klog.KRef("studio", "web"))
	want := line{Level: "INFO", Msg: "seen"}
	want.Object.Namespace, want.Object.Name = "studio", "web"
	if diff := cmp.Diff([]line{want}, linesOf(t, &out)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestAnAttributeNamedLevelIsLeftAlone(t *testing.T) {
	got := plainLevel([]string{"request"}, slog.Any(slog.LevelKey, slog.Level(-1)))
	if got.Value.Any() != slog.Level(-1) {
		t.Errorf("the attribute request.level became %v", got)
	}
}

func TestTextFormatIsNotJSON(t *testing.T) {
	var out bytes.Buffer
	logr.FromSlogHandler(NewHandler(&out, LevelDebug, FormatText)).V(1).Info("hello")
	if !strings.Contains(out.String(), "level=DEBUG msg=hello") {
		t.Errorf("got %q", out.String())
	}
}

func TestInstallCatchesClientGo(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	Install(NewHandler(&out, LevelDebug, FormatJSON))
	klog.Warning("watch closed")
	klog.Background().V(1).Info("contextual")
	slog.Info("plain")

	want := []line{{Level: "INFO", Msg: "watch closed"}, {Level: "DEBUG", Msg: "contextual"}, {Level: "INFO", Msg: "plain"}}
	if diff := cmp.Diff(want, linesOf(t, &out)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
