package tokenserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// longestKey bounds what is read of a key's file, in bytes.
const longestKey = 4 << 10

// readKey reads the API key. It is read for each mint, so that a rotated key is used from the next one on. White space around it is
// dropped, as an editor leaves it.
func readKey(path string) (reactor.Secret, error) {
	info, err := os.Stat(path) //nolint:gosec // the path is a flag
	if err != nil {
		return "", fmt.Errorf("reading the API key: %w", err)
	}
	if info.Size() > longestKey {
		return "", fmt.Errorf("reading the API key: %s holds more than %d bytes", path, longestKey)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the path is a flag
	if err != nil {
		return "", fmt.Errorf("reading the API key: %w", err)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "", errors.New("reading the API key: " + path + " is empty")
	}
	return reactor.Secret(text), nil
}
