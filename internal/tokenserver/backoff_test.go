package tokenserver

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

func TestWhatHoldsAKeyBack(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	after := func(wait time.Duration, reason string) backoff { return backoff{now.Add(wait), reason} }
	for name, test := range map[string]struct {
		learnt func(*backoffs)
		key    reactor.Secret
		want   backoff
	}{
		"nothing, at first": {func(*backoffs) {}, firstKey, backoff{}},
		"the refusal of this key": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Minute, reasonKeyRejected))
		}, firstKey, after(time.Minute, reasonKeyRejected)},
		"not the refusal of another key": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Minute, reasonKeyRejected))
		}, secondKey, backoff{}},
		"the longer of two": {func(b *backoffs) {
			b.addForAllKeys(after(time.Hour, reasonRateLimited))
			b.addForAllKeys(after(time.Second, reasonReactorUnavailable))
		}, firstKey, after(time.Hour, reasonRateLimited)},
		"the longer of two refusals": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Hour, reasonKeyRejected))
			b.addForKey(firstKey, after(time.Minute, reasonRequestRejected))
		}, firstKey, after(time.Hour, reasonKeyRejected)},
		"a shorter wait of all, after the refusal of another key": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Hour, reasonKeyRejected))
			b.addForAllKeys(after(time.Minute, reasonRateLimited))
		}, secondKey, after(time.Minute, reasonRateLimited)},
		"the wait of all, when the refusal of another key comes late": {func(b *backoffs) {
			b.addForAllKeys(after(time.Minute, reasonRateLimited))
			b.addForKey(firstKey, after(time.Hour, reasonKeyRejected))
		}, secondKey, after(time.Minute, reasonRateLimited)},
		"the refusal of this key, after a longer one of another": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Hour, reasonKeyRejected))
			b.addForKey(secondKey, after(time.Minute, reasonKeyRejected))
		}, secondKey, after(time.Minute, reasonKeyRejected)},
		"the wait of all, when it is longer than the refusal of this key": {func(b *backoffs) {
			b.addForKey(firstKey, after(time.Minute, reasonKeyRejected))
			b.addForAllKeys(after(time.Hour, reasonRateLimited))
		}, firstKey, after(time.Hour, reasonRateLimited)},
	} {
		t.Run(name, func(t *testing.T) {
			var all backoffs
			test.learnt(&all)
			if diff := cmp.Diff(test.want, all.of(test.key), cmp.AllowUnexported(backoff{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
