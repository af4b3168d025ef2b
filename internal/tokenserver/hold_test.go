package tokenserver

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

func TestWhatHoldsAKeyBack(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	after := func(wait time.Duration, reason string) hold { return hold{now.Add(wait), reason} }
	for name, test := range map[string]struct {
		learnt func(*holds)
		key    reactor.Secret
		want   hold
	}{
		"nothing, at first": {func(*holds) {}, firstKey, hold{}},
		"the refusal of this key": {func(h *holds) {
			h.forKey(firstKey, after(time.Minute, reasonKeyRefused))
		}, firstKey, after(time.Minute, reasonKeyRefused)},
		"not the refusal of another key": {func(h *holds) {
			h.forKey(firstKey, after(time.Minute, reasonKeyRefused))
		}, secondKey, hold{}},
		"the longer of two": {func(h *holds) {
			h.forAll(after(time.Hour, reasonRateLimited))
			h.forAll(after(time.Second, reasonReactorAway))
		}, firstKey, after(time.Hour, reasonRateLimited)},
		"the longer of two refusals": {func(h *holds) {
			h.forKey(firstKey, after(time.Hour, reasonKeyRefused))
			h.forKey(firstKey, after(time.Minute, reasonRefused))
		}, firstKey, after(time.Hour, reasonKeyRefused)},
		"a shorter wait of all, after the refusal of another key": {func(h *holds) {
			h.forKey(firstKey, after(time.Hour, reasonKeyRefused))
			h.forAll(after(time.Minute, reasonRateLimited))
		}, secondKey, after(time.Minute, reasonRateLimited)},
		"the wait of all, when the refusal of another key comes late": {func(h *holds) {
			h.forAll(after(time.Minute, reasonRateLimited))
			h.forKey(firstKey, after(time.Hour, reasonKeyRefused))
		}, secondKey, after(time.Minute, reasonRateLimited)},
		"the refusal of this key, after a longer one of another": {func(h *holds) {
			h.forKey(firstKey, after(time.Hour, reasonKeyRefused))
			h.forKey(secondKey, after(time.Minute, reasonKeyRefused))
		}, secondKey, after(time.Minute, reasonKeyRefused)},
		"the wait of all, when it is longer than the refusal of this key": {func(h *holds) {
			h.forKey(firstKey, after(time.Minute, reasonKeyRefused))
			h.forAll(after(time.Hour, reasonRateLimited))
		}, firstKey, after(time.Hour, reasonRateLimited)},
	} {
		t.Run(name, func(t *testing.T) {
			var all holds
			test.learnt(&all)
			if diff := cmp.Diff(test.want, all.on(test.key), cmp.AllowUnexported(hold{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
