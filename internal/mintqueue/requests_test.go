package mintqueue

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

// requestOf reads namespace/name:Priority, or namespace/name:Priority@expiry with the expiry in seconds.
func requestOf(text string) Request {
	object, order, _ := strings.Cut(text, ":")
	level, expiry, _ := strings.Cut(order, "@")
	inNamespace, name, _ := strings.Cut(object, "/")
	t := Request{Object: types.NamespacedName{Namespace: inNamespace, Name: name}, Fingerprint: "k", Priority: map[string]Priority{
		"expiring": PriorityExpiring, "changed": PriorityChanged, "new": PriorityNew, "renewal": PriorityRenewal, "refused": PriorityRefused}[level]}
	if seconds, err := strconv.ParseInt(expiry, 10, 64); err == nil {
		t.Expires = time.Unix(seconds, 0)
	}
	return t
}

// served empties a queue.
func served(q *requests) []string {
	var order []string
	for t, ok := q.pop(); ok; t, ok = q.pop() {
		order = append(order, t.Object.String())
	}
	return order
}

func TestTheOrderOfRequests(t *testing.T) {
	tests := []struct {
		name  string
		joins string // in this order; one that starts with - is removed
		want  string
	}{
		{"no request", "", ""},
		{"one namespace is served in order of arrival", "a/1:new a/2:new a/3:new", "a/1 a/2 a/3"},
		{"the urgent go first", "a/1:renewal a/2:new a/3:changed a/4:expiring", "a/4 a/3 a/2 a/1"},
		{"what Reactor refused goes last", "a/1:refused a/2:renewal a/3:new", "a/3 a/2 a/1"},
		{"namespaces take turns", "a/1:new a/2:new a/3:new b/1:new c/1:new b/2:new", "a/1 b/1 c/1 a/2 b/2 a/3"},
		{"Priority comes before turns", "a/1:new b/1:expiring a/2:expiring a/3:expiring c/1:new", "b/1 a/2 a/3 a/1 c/1"},
		{"each level has turns of its own", "a/1:expiring a/2:new b/1:new", "a/1 a/2 b/1"},
		{"a request that is added again keeps its place", "a/1:new a/2:new a/1:new", "a/1 a/2"},
		{"a request that became more urgent moves up", "a/1:new a/2:renewal a/2:expiring", "a/2 a/1"},
		{"a request that became less urgent moves down", "a/1:expiring a/2:new a/1:renewal", "a/2 a/1"},
		{"what expires first goes first, whenever it came", "a/1:renewal@30 a/2:renewal@10 a/3:renewal@20", "a/2 a/3 a/1"},
		{"what expires at one time is served in order of arrival", "a/1:renewal@10 a/2:renewal@10 a/3:renewal@5 a/4:renewal@10", "a/3 a/1 a/2 a/4"},
		{"turns come before the expiry", "a/1:renewal@30 a/2:renewal@10 b/1:renewal@40", "a/2 b/1 a/1"},
		{"a token that was renewed meanwhile moves down", "a/1:renewal@10 a/2:renewal@20 a/1:renewal@30", "a/2 a/1"},
		{"a removed request is not served", "a/1:new a/2:new -a/1", "a/2"},
		{"a namespace without requests has no turn", "a/1:new b/1:new b/2:new -a/1", "b/1 b/2"},
		{"a removed request may come back, at the end", "a/1:new a/2:new -a/1 a/1:new", "a/2 a/1"},
		{"a request that is not queued may be removed", "a/1:new -b/7", "a/1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := &requests{}
			for step := range strings.FieldsSeq(test.joins) {
				if leaving, ok := strings.CutPrefix(step, "-"); ok {
					q.remove(requestOf(leaving).Object)
				} else {
					q.push(requestOf(step))
				}
			}
			if diff := cmp.Diff(strings.Fields(test.want), served(q), cmp.Transformer("none", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
			if len(q.byObject) != 0 {
				t.Error("the queue is not empty afterwards")
			}
		})
	}
}

// A namespace with a thousand tokens does not keep another's one waiting for more than a turn, however the two came.
func TestNoNamespaceStarvesInTheQueue(t *testing.T) {
	q := &requests{}
	for i := range 1000 {
		q.push(requestOf(fmt.Sprintf("big/%d:renewal", i)))
	}
	for i := range 10 {
		q.pop()
		q.push(requestOf(fmt.Sprintf("big/late-%d:renewal", i)))
	}
	q.push(requestOf("small/only:renewal"))
	order := served(q)
	if at := slices.Index(order, "small/only"); at < 0 || at > 1 {
		t.Errorf("served in place %d", at)
	}
	if len(order) != 1001 {
		t.Errorf("%d were served", len(order))
	}
}

func TestARequestWithAnotherKeyReplacesTheEarlierOne(t *testing.T) {
	q := &requests{}
	q.push(requestOf("a/1:new"))
	changed := requestOf("a/1:new")
	changed.Fingerprint = "another"
	q.push(changed)
	got, _ := q.pop()
	if got != changed || len(q.byObject) != 0 {
		t.Errorf("served %+v", got)
	}
}
