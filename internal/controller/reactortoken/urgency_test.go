package reactortoken

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// ticketOf reads namespace/name:urgency, or namespace/name:urgency@expiry with the expiry in seconds.
func ticketOf(text string) ticket {
	object, place, _ := strings.Cut(text, ":")
	level, expiry, _ := strings.Cut(place, "@")
	inNamespace, name, _ := strings.Cut(object, "/")
	t := ticket{object: types.NamespacedName{Namespace: inNamespace, Name: name}, fingerprint: "k", urgency: map[string]urgency{
		"expiring": urgencyExpiring, "changed": urgencyChanged, "new": urgencyNew, "renewal": urgencyRenewal, "refused": urgencyRefused}[level]}
	if seconds, err := strconv.ParseInt(expiry, 10, 64); err == nil {
		t.expires = time.Unix(seconds, 0)
	}
	return t
}

// served empties a line.
func served(l *line) []string {
	var order []string
	for t, ok := l.next(); ok; t, ok = l.next() {
		order = append(order, t.object.String())
	}
	return order
}

func TestLine(t *testing.T) {
	tests := []struct {
		name  string
		joins string // in this order; one that begins with - leaves
		want  string
	}{
		{"nobody", "", ""},
		{"one namespace is served in order of arrival", "a/1:new a/2:new a/3:new", "a/1 a/2 a/3"},
		{"the urgent go first", "a/1:renewal a/2:new a/3:changed a/4:expiring", "a/4 a/3 a/2 a/1"},
		{"what Reactor refused goes last", "a/1:refused a/2:renewal a/3:new", "a/3 a/2 a/1"},
		{"namespaces take turns", "a/1:new a/2:new a/3:new b/1:new c/1:new b/2:new", "a/1 b/1 c/1 a/2 b/2 a/3"},
		{"urgency comes before turns", "a/1:new b/1:expiring a/2:expiring a/3:expiring c/1:new", "b/1 a/2 a/3 a/1 c/1"},
		{"each level has turns of its own", "a/1:expiring a/2:new b/1:new", "a/1 a/2 b/1"},
		{"who joins again keeps the place", "a/1:new a/2:new a/1:new", "a/1 a/2"},
		{"who became more urgent moves up", "a/1:new a/2:renewal a/2:expiring", "a/2 a/1"},
		{"who became less urgent moves down", "a/1:expiring a/2:new a/1:renewal", "a/2 a/1"},
		{"what expires first goes first, whenever it came", "a/1:renewal@30 a/2:renewal@10 a/3:renewal@20", "a/2 a/3 a/1"},
		{"what expires at one time is served in order of arrival", "a/1:renewal@10 a/2:renewal@10 a/3:renewal@5 a/4:renewal@10", "a/3 a/1 a/2 a/4"},
		{"turns come before the expiry", "a/1:renewal@30 a/2:renewal@10 b/1:renewal@40", "a/2 b/1 a/1"},
		{"a token that was renewed meanwhile moves down", "a/1:renewal@10 a/2:renewal@20 a/1:renewal@30", "a/2 a/1"},
		{"who leaves is not served", "a/1:new a/2:new -a/1", "a/2"},
		{"a namespace that everybody left has no turn", "a/1:new b/1:new b/2:new -a/1", "b/1 b/2"},
		{"who left may come back, at the end", "a/1:new a/2:new -a/1 a/1:new", "a/2 a/1"},
		{"who never stood there may leave", "a/1:new -b/7", "a/1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := &line{}
			for step := range strings.FieldsSeq(test.joins) {
				if leaving, ok := strings.CutPrefix(step, "-"); ok {
					l.leave(ticketOf(leaving).object)
				} else {
					l.join(ticketOf(step))
				}
			}
			if diff := cmp.Diff(strings.Fields(test.want), served(l), cmp.Transformer("none", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
			if !l.empty() {
				t.Error("the line is not empty afterwards")
			}
		})
	}
}

// A namespace with a thousand tokens does not keep another's one waiting for more than a turn, however the two came.
func TestNobodyStarvesInALine(t *testing.T) {
	l := &line{}
	for i := range 1000 {
		l.join(ticketOf(fmt.Sprintf("big/%d:renewal", i)))
	}
	for i := range 10 {
		l.next()
		l.join(ticketOf(fmt.Sprintf("big/late-%d:renewal", i)))
	}
	l.join(ticketOf("small/only:renewal"))
	order := served(l)
	if at := slices.Index(order, "small/only"); at < 0 || at > 1 {
		t.Errorf("served in place %d", at)
	}
	if len(order) != 1001 {
		t.Errorf("%d were served", len(order))
	}
}

func TestAKeyThatChangedRenewsTheTicket(t *testing.T) {
	l := &line{}
	l.join(ticketOf("a/1:new"))
	changed := ticketOf("a/1:new")
	changed.fingerprint = "another"
	l.join(changed)
	got, _ := l.next()
	if got != changed || !l.empty() {
		t.Errorf("served %+v", got)
	}
}
