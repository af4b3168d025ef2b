package tokenserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// maxKeyBytes is the maximum size of the file of the API key.
const maxKeyBytes = 4 << 10

// readKey reads the API key, without the white space around it. The server reads the file for each mint, so that the next mint uses a rotated key.
func readKey(path string) (reactor.Secret, error) {
	info, err := os.Stat(path) //nolint:gosec // the path is a flag
	if err != nil {
		return "", fmt.Errorf("reading the API key: %w", err)
	}
	if info.Size() > maxKeyBytes {
		return "", fmt.Errorf("reading the API key: %s has more than %d bytes", path, maxKeyBytes)
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
