// Package requeue answers one question for every controller: when is an object reconciled next, if no watch reports a change before?
//
// Each stage of a reconcile returns entries. One call of Earliest at the end of the reconcile decides between them.
package requeue

import "time"

// Entry is one reason to reconcile an object again.
type Entry struct {
	After  time.Duration // from now; zero or less means immediately
	Reason string        // for the debug log, such as "the renewal is due"
}

// Earliest returns the entry that comes first. Of two that come at the same time, it is the one that was given first. It returns false
// without entries: then a watch triggers the next reconcile.
func Earliest(entries ...Entry) (Entry, bool) {
	if len(entries) == 0 {
		return Entry{}, false
	}
	earliest := entries[0]
	for _, entry := range entries[1:] {
		if entry.After < earliest.After {
			earliest = entry
		}
	}
	return earliest, true
}
