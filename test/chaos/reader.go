package main

import (
	"slices"
	"time"
)

// version is what a Secret held for some time.
type version struct {
	secret  string    // its UID
	jti     string    // the token's id
	seen    time.Time // when the watch told of it
	expires time.Time // by the token itself
	flaw    string    // what is wrong with it, beside its age
}

// lookResult counts what readers saw.
type lookResult struct {
	reads   int // one of each token at each look
	expired int // of a token that had expired
	flawed  int // of something that is not what belongs into the Secret
	missing int // of a Secret that was there before, and is not any more
	// least is the shortest time that a token which was read had left to live.
	least time.Duration
}

func (l lookResult) bad() int { return l.expired + l.flawed + l.missing }

// since takes what an earlier result had off the counts.
func (l lookResult) since(earlier lookResult) lookResult {
	return lookResult{l.reads - earlier.reads, l.expired - earlier.expired, l.flawed - earlier.flawed, l.missing - earlier.missing, l.least}
}

// readers read the token of each Secret at each look, as programs in pods do from a mounted file: what they hold is readerLag behind the
// Secret, and stays as it is while Kubernetes is away.
type readers struct {
	copies map[string]*held // by the Secret's name
	total  lookResult
	spells []spell
}

// held is one reader's copy.
type held struct {
	now    version
	coming []version // that the watch has told of, and the file does not have yet
	gone   bool
	bad    bool // at the last look
}

// spell is a time in which a reader had no good token.
type spell struct {
	name     string
	from, to time.Time
	why      string
}

func newReaders() *readers { return &readers{copies: map[string]*held{}} }

// deliver tells of what a Secret holds now. A pod starts with what it finds, so the first version is held at once.
func (r *readers) deliver(name string, v version) {
	copied, known := r.copies[name]
	if !known {
		r.copies[name] = &held{now: v}
		return
	}
	copied.gone = false
	if v.jti != copied.newest().jti || v.secret != copied.newest().secret {
		copied.coming = append(copied.coming, v)
	}
}

// remove tells that a Secret is gone.
func (r *readers) remove(name string) {
	if copied, known := r.copies[name]; known {
		copied.gone = true
	}
}

func (h *held) newest() version {
	if len(h.coming) > 0 {
		return h.coming[len(h.coming)-1]
	}
	return h.now
}

// look has everybody read.
func (r *readers) look(now time.Time) {
	for name, copied := range r.copies {
		for len(copied.coming) > 0 && !copied.coming[0].seen.Add(readerLag).After(now) {
			copied.now, copied.coming = copied.coming[0], copied.coming[1:]
		}
		r.total.reads++
		left := copied.now.expires.Sub(now)
		if r.total.least == 0 || left < r.total.least {
			r.total.least = left
		}
		why := ""
		switch {
		case copied.gone:
			r.total.missing++
			why = "the Secret is gone"
		case copied.now.flaw != "":
			r.total.flawed++
			why = copied.now.flaw
		case left <= 0:
			r.total.expired++
			why = "the token has expired"
		}
		r.note(name, copied, why, now)
	}
}

// note keeps spells, from the first look to the last that saw the same.
func (r *readers) note(name string, copied *held, why string, now time.Time) {
	if why == "" {
		copied.bad = false
		return
	}
	if copied.bad {
		for i := range slices.Backward(r.spells) {
			if r.spells[i].name == name {
				r.spells[i].to = now
				return
			}
		}
	}
	copied.bad = true
	r.spells = append(r.spells, spell{name, now, now, why})
}

// take returns what was seen so far, and starts the shortest rest of life anew.
func (r *readers) take() lookResult {
	taken := r.total
	r.total.least = 0
	return taken
}

// count is how many Secrets are read.
func (r *readers) count() int { return len(r.copies) }

// behind counts the Secrets that should hold another token by now, since less than so much of its life is left.
func (r *readers) behind(now time.Time, reserve time.Duration) int {
	count := 0
	for _, copied := range r.copies {
		if copied.gone || copied.newest().expires.Sub(now) < reserve {
			count++
		}
	}
	return count
}
