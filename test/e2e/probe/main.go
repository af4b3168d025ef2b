// Command probe is what the pods of these tests run. It prints a line of JSON with the id of the token that it sees, and another
// one whenever that changes; never the token itself.
//
//	probe file PATH     the token is in a mounted file
//	probe env NAME      the token is in the environment
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// glance is the time between two reads of the file.
const glance = 10 * time.Millisecond

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if err := run(os.Args[1:], stop, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string, stop <-chan os.Signal, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: probe file PATH, or probe env NAME")
	}
	read := func() string { return os.Getenv(args[1]) }
	if args[0] == "file" {
		read = func() string {
			content, err := os.ReadFile(args[1])
			if err != nil {
				return "" // it is being replaced; the next look finds it
			}
			return string(content)
		}
	}
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	seen := ""
	for {
		if token := read(); token != seen && token != "" {
			seen = token
			if err := json.NewEncoder(out).Encode(describe(token)); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-stop:
			return nil
		}
	}
}

// sighting is a line of the output.
type sighting struct {
	JTI   string `json:"jti,omitempty"`
	Error string `json:"error,omitempty"`
}

// describe reads the id from a JWT. What it says of another text does not quote it.
func describe(token string) sighting {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return sighting{Error: fmt.Sprintf("this is no JWT: it has %d parts", len(parts))}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return sighting{Error: "the claims are not base64url"}
	}
	var claims sighting
	if err := json.Unmarshal(payload, &claims); err != nil {
		return sighting{Error: "the claims are not JSON"}
	}
	return sighting{JTI: claims.JTI}
}
