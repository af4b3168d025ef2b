package requeue

import (
	"testing"
	"time"
)

func TestTheEarliestEntryDecides(t *testing.T) {
	for name, test := range map[string]struct {
		entries []Entry
		want    Entry
		some    bool
	}{
		"without entries, a watch triggers the next reconcile": {},
		"one entry": {entries: []Entry{{time.Minute, "renewal"}}, want: Entry{time.Minute, "renewal"}, some: true},
		"the earliest of several, wherever it is": {
			entries: []Entry{{time.Hour, "expiry"}, {time.Second, "retry"}, {time.Minute, "renewal"}}, want: Entry{time.Second, "retry"}, some: true,
		},
		"of two at the same time, the first one": {
			entries: []Entry{{time.Minute, "renewal"}, {time.Minute, "expiry"}}, want: Entry{time.Minute, "renewal"}, some: true,
		},
		"an entry that is due already": {entries: []Entry{{time.Minute, "renewal"}, {-time.Second, "retry"}}, want: Entry{-time.Second, "retry"}, some: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, some := Earliest(test.entries...)
			if got != test.want || some != test.some {
				t.Errorf("got %v, %t; want %v, %t", got, some, test.want, test.some)
			}
		})
	}
}
