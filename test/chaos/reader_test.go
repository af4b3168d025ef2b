package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when everything begins.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// told is something that the watch tells, or a look.
type told struct {
	at      int
	deliver string // a token's id
	expires int
	flaw    string
	remove  bool
}

func TestReadersSeeWhatAMountedFileWouldShow(t *testing.T) {
	for name, test := range map[string]struct {
		happens []told
		want    lookResult
		spells  []spell
	}{
		"the first token is there at once": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 1}},
			want:    lookResult{reads: 1, least: 59 * time.Second},
		},
		"a renewal in time, with the lag": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 40, deliver: "b", expires: 100}, {at: 54}, {at: 55}, {at: 61}},
			want:    lookResult{reads: 3, least: 6 * time.Second},
		},
		"a renewal too late for the file": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 50, deliver: "b", expires: 110}, {at: 60}, {at: 64}, {at: 65}},
			want:    lookResult{reads: 3, expired: 2, least: -4 * time.Second},
			spells:  []spell{{"web", after(60), after(64), "the token has expired"}},
		},
		"Kubernetes is away, and the file stays": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 30, deliver: "a", expires: 60}, {at: 59}},
			want:    lookResult{reads: 1, least: time.Second},
		},
		"two versions on their way": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 1, deliver: "b", expires: 61}, {at: 2, deliver: "c", expires: 62}, {at: 16}, {at: 17}},
			want:    lookResult{reads: 2, least: 45 * time.Second},
		},
		"a Secret that goes and comes": {
			happens: []told{{at: 0, deliver: "a", expires: 60}, {at: 1, remove: true}, {at: 2}, {at: 3, deliver: "b", expires: 63}, {at: 4}, {at: 5, remove: true}, {at: 6}},
			want:    lookResult{reads: 3, missing: 2, least: 54 * time.Second},
			spells:  []spell{{"web", after(2), after(2), "the Secret is gone"}, {"web", after(6), after(6), "the Secret is gone"}},
		},
		"something else in the Secret": {
			happens: []told{{at: 0, deliver: "a", expires: 60, flaw: "no token"}, {at: 1}},
			want:    lookResult{reads: 1, flawed: 1, least: 59 * time.Second},
			spells:  []spell{{"web", after(1), after(1), "no token"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReaders()
			for _, happening := range test.happens {
				switch {
				case happening.deliver != "":
					r.deliver("web", version{"uid", happening.deliver, after(happening.at), after(happening.expires), happening.flaw})
				case happening.remove:
					r.remove("web")
				default:
					r.look(after(happening.at))
				}
			}
			if diff := cmp.Diff(test.want, r.take(), cmp.AllowUnexported(lookResult{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.spells, r.spells, cmp.AllowUnexported(spell{})); diff != "" {
				t.Errorf("spells (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoIsBehindIsCountedByTheNewestToken(t *testing.T) {
	r := newReaders()
	r.deliver("late", version{"1", "a", noon, after(60), ""})
	r.deliver("renewed", version{"2", "b", noon, after(60), ""})
	r.deliver("renewed", version{"2", "c", after(30), after(90), ""})
	r.deliver("gone", version{"3", "d", noon, after(600), ""})
	r.remove("gone")
	if behind := r.behind(after(45), 20*time.Second); behind != 2 {
		t.Errorf("%d are behind, want the one that is late and the one that is gone", behind)
	}
	if r.count() != 3 {
		t.Errorf("%d are read", r.count())
	}
}
