package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// auditLine is what is read of a line of the API server's audit log.
type auditLine struct {
	Verb      string `json:"verb"`
	ObjectRef *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Stage string `json:"stage"`
}

// requestCounts are requests by verb and resource, such as "update reactortokens/status".
type requestCounts map[string]int

// about the process itself, and not about its objects.
var aboutItself = []string{"leases", "tokenreviews", "subjectaccessreviews"}

// countRequests counts the requests of an audit log. Watches count once, when they begin; what is about the process itself does not.
func countRequests(log io.Reader) (requestCounts, error) {
	counts := requestCounts{}
	lines := bufio.NewReader(log)
	for {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF { // a last line that is not complete is not counted
			return counts, nil
		}
		if err != nil {
			return nil, err
		}
		line := auditLine{}
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fmt.Errorf("a line of the audit log: %w", err)
		}
		begins := line.Verb == "watch" && line.Stage == "ResponseStarted"
		done := line.Verb != "watch" && line.Stage == "ResponseComplete"
		if line.ObjectRef == nil || slices.Contains(aboutItself, line.ObjectRef.Resource) || !begins && !done {
			continue
		}
		name := line.Verb + " " + line.ObjectRef.Resource
		if line.ObjectRef.Subresource != "" {
			name += "/" + line.ObjectRef.Subresource
		}
		counts[name]++
	}
}

// auditMark is a place in an audit log.
type auditMark int64

func markAudit(path string) (auditMark, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return auditMark(info.Size()), nil
}

// countSince counts the requests after a mark.
func countSince(path string, mark auditMark) (requestCounts, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(int64(mark), io.SeekStart); err != nil {
		return nil, err
	}
	return countRequests(file)
}

// isEvent tells events apart, which are told beside the work and not for it.
func isEvent(name string) bool { return strings.HasSuffix(name, " events") }

// isWrite tells whether a request changes something.
func isWrite(name string) bool {
	verb, _, _ := strings.Cut(name, " ")
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, verb)
}

// sum adds up the requests that match.
func (c requestCounts) sum(matches func(name string) bool) int {
	total := 0
	for name, count := range c {
		if matches(name) {
			total += count
		}
	}
	return total
}

// isWatch tells watches apart, which are opened anew every few minutes, whatever happens.
func isWatch(name string) bool { return strings.HasPrefix(name, "watch ") }

// forObjects are the requests that are made for objects.
func forObjects(name string) bool { return !isEvent(name) && !isWatch(name) }

// writesWithoutEvents are those of them that change something.
func writesWithoutEvents(name string) bool { return isWrite(name) && !isEvent(name) }

// per says how many requests there are of each kind to one of so many objects.
func (c requestCounts) per(objects int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", name, float64(c[name])/float64(objects)))
	}
	return strings.Join(parts, ", ")
}
