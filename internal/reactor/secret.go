package reactor

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted replaces every secret.
const redacted = "[redacted]"

// Secret is an API key or a token. It prints as [redacted] with fmt, slog, logr and encoding/json, also inside structs,
// slices and the values of maps, so that a careless log line cannot leak it. Only Reveal returns its text.
//
// The standard library calls no methods in these cases, so they can leak a Secret:
//   - fmt, for an unexported field: keep a Secret in an exported field, or give the struct a method Format;
//   - fmt, for a struct behind a pointer inside another struct, with a verb other than %v: give it a method Format, like
//     Token and MintRequest;
//   - fmt, for the verbs %p and %w, which go vet rejects for a string;
//   - encoding/json, for the keys of a map: never use a Secret as one.
type Secret string

// Reveal returns the text of the secret. In a search for a leak, each call must be checked: pass the result only to the
// code that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// GoString returns [redacted], for the verb %#v.
func (s Secret) GoString() string { return redacted }

// Format writes [redacted] for all verbs and flags: without it, %x and %q would print the text of the string.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns [redacted] for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalLog returns [redacted] for sinks of logr that look into values by reflection.
func (s Secret) MarshalLog() any { return redacted }

// MarshalText returns [redacted], for encoders other than JSON. It never fails.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]". It never fails.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
