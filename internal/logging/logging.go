// Package logging sends every line of the operator, of controller-runtime and of client-go through one log/slog handler.
package logging

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// The formats of a line.
const (
	FormatJSON = "json"
	FormatText = "text"
)

// The levels from which lines are written.
const (
	LevelDebug = "debug"
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"
)

// Levels returns the known levels, from chatty to quiet.
func Levels() []string { return []string{LevelDebug, LevelInfo, LevelWarn, LevelError} }

// Formats returns the known formats.
func Formats() []string { return []string{FormatJSON, FormatText} }

// NewHandler returns a handler that writes to out the lines from the given level upwards. What is neither a known level
// nor a known format counts as info and as JSON: flags are validated elsewhere, and a missing log would be worse.
func NewHandler(out io.Writer, level, format string) slog.Handler {
	options := &slog.HandlerOptions{Level: threshold(level), ReplaceAttr: plainLevel}
	if format == FormatText {
		return slog.NewTextHandler(out, options)
	}
	return slog.NewJSONHandler(out, options)
}

// threshold is the lowest level that is written. logr's V(n) is slog's level -n, so that debug ends at V(4). This is a
// limit that matters: from V(8) on client-go writes the bodies of requests and answers, and with them Secrets.
func threshold(level string) slog.Level {
	switch level {
	case LevelDebug:
		return slog.LevelDebug
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// plainLevel writes DEBUG where slog would write DEBUG+3 for logr's V(1).
func plainLevel(groups []string, attr slog.Attr) slog.Attr {
	level, ok := attr.Value.Any().(slog.Level)
	if len(groups) > 0 || attr.Key != slog.LevelKey || !ok {
		return attr
	}
	if level < slog.LevelInfo {
		return slog.String(slog.LevelKey, slog.LevelDebug.String())
	}
	return attr
}

// Install makes the handler the one of controller-runtime, of client-go (klog) and of slog itself, and returns the
// logger for the program's own lines. Call it once, before a manager is made.
func Install(handler slog.Handler) logr.Logger {
	logger := logr.FromSlogHandler(handler)
	ctrllog.SetLogger(logger)
	klog.SetLoggerWithOptions(logger.WithName("client-go"), klog.ContextualLogger(true))
	slog.SetDefault(slog.New(handler))
	return logger
}
