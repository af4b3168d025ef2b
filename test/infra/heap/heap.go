// Package heap looks for secrets in the memory of the process that runs a test.
package heap

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// Hidden is a text that does not itself occur in the memory of the process: its bits are inverted. A secret that a test looks for must
// be created at run time, since a literal is part of the program and so of each dump.
type Hidden []byte

// Hide returns the hidden form of a text. The text itself must become garbage before it is looked for.
func Hide(text string) Hidden { return invert([]byte(text)) }

// NewKey returns an API key that occurs nowhere yet.
func NewKey() Hidden { return Hide("rk_" + rand.Text() + rand.Text()) }

// Reveal returns a new copy of the text.
func (h Hidden) Reveal() string { return string(invert(h)) }

func invert(text []byte) []byte {
	inverted := make([]byte, len(text))
	for i, b := range text {
		inverted[i] = ^b
	}
	return inverted
}

// Dump writes all that is reachable into a file, and returns its path. It collects the garbage three times before: what a sync.Pool holds
// survives two collections.
func Dump(tb testing.TB) string {
	tb.Helper()
	file, err := os.Create(filepath.Join(tb.TempDir(), "heap"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for range 3 {
		runtime.GC()
	}
	debug.WriteHeapDump(file.Fd())
	return file.Name()
}

// In reports whether the text is in a file.
func (h Hidden) In(tb testing.TB, path string) bool {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	const piece = 1 << 20
	window := make([]byte, 0, len(h)+piece) // the end of the last piece, and the next one
	for {
		count, err := file.Read(window[len(window):cap(window)])
		read := window[len(window) : len(window)+count]
		for i := range read {
			read[i] = ^read[i] // what is searched is inverted too, so that the search leaves no copy of the text
		}
		window = window[:len(window)+count]
		if bytes.Contains(window, h) {
			return true
		}
		window = append(window[:0], window[max(0, len(window)-len(h)):]...)
		if err == io.EOF {
			return false
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
