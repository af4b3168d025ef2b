package reactortoken

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// granted is the record of a token that was issued at noon for a lifetime.
func granted(d time.Duration) *targetsecret.Record {
	return &targetsecret.Record{IssuedAt: noon, ExpiresAt: noon.Add(d)}
}

func TestGrantOf(t *testing.T) {
	tests := []struct {
		name        string
		lifetime    v1alpha1.Duration
		renewBefore v1alpha1.Duration
		granted     time.Duration
		want        grant
	}{
		{"the whole wish, and a third of it to renew in", "1h", "", time.Hour,
			grant{requested: time.Hour, granted: time.Hour, renewBefore: 20 * time.Minute}},
		{"no wish is six hours", "", "", 6 * time.Hour,
			grant{requested: 6 * time.Hour, granted: 6 * time.Hour, renewBefore: 2 * time.Hour}},
		{"a renewBefore that fits", "1h", "5m", time.Hour,
			grant{requested: time.Hour, granted: time.Hour, renewBefore: 5 * time.Minute}},
		{"less than the wish", "6h", "", time.Hour,
			grant{requested: 6 * time.Hour, granted: time.Hour, clamped: true, renewBefore: 20 * time.Minute}},
		{"a few seconds less are no clamp", "1h", "", time.Hour - clampTolerance,
			grant{requested: time.Hour, granted: time.Hour - clampTolerance, renewBefore: (time.Hour - clampTolerance) / 3}},
		{"one second more is one", "1h", "", time.Hour - clampTolerance - time.Second,
			grant{requested: time.Hour, granted: time.Hour - clampTolerance - time.Second, clamped: true, renewBefore: (time.Hour - clampTolerance - time.Second) / 3}},
		{"more than the wish", "1h", "", 2 * time.Hour,
			grant{requested: time.Hour, granted: 2 * time.Hour, renewBefore: 40 * time.Minute}},
		{"a renewBefore as long as the grant is ignored", "6h", "1h", time.Hour,
			grant{requested: 6 * time.Hour, granted: time.Hour, clamped: true, renewBefore: 20 * time.Minute, renewBeforeIgnored: true}},
		{"a renewBefore a second shorter is not", "6h", "59m59s", time.Hour,
			grant{requested: 6 * time.Hour, granted: time.Hour, clamped: true, renewBefore: time.Hour - time.Second}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := &v1alpha1.ReactorTokenSpec{Lifetime: test.lifetime, RenewBefore: test.renewBefore}
			got := grantOf(spec, granted(test.granted))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(grant{})); diff != "" {
				t.Errorf("grant (-want +got):\n%s", diff)
			}
		})
	}
}

// These instants are an interface: a change of the jitter would move the renewals of a whole fleet at an upgrade.
func TestRenewalTime(t *testing.T) {
	const uid types.UID = "5b6a4f6e-0000-4000-8000-000000000001"
	tests := []struct {
		name        string
		renewBefore v1alpha1.Duration
		granted     time.Duration
		want        string // after noon
	}{
		{"six hours, two of them and the jitter before the end", "", 6 * time.Hour, "3h26m27s"},
		{"an hour", "", time.Hour, "34m25s"},
		{"an hour, with a renewBefore", "5m", time.Hour, "49m25s"},
		{"an hour, with a renewBefore that does not fit", "2h", time.Hour, "34m25s"},
		{"an extreme renewBefore leaves a quarter of the life", "59m59s", time.Hour, "15m0s"},
		{"an extreme renewBefore leaves a quarter of a short life", "59s", time.Minute, "15s"},
		{"a minute", "", time.Minute, "35s"},
		{"ten seconds", "", 10 * time.Second, "6s"},
		{"an uneven lifetime gives whole seconds", "", 100 * time.Second, "57s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := &v1alpha1.ReactorTokenSpec{RenewBefore: test.renewBefore}
			got := renewalTime(spec, uid, granted(test.granted))
			if diff := cmp.Diff(test.want, got.Sub(noon).String()); diff != "" {
				t.Errorf("renewal after the issue (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the spec says, a token is used for a while, and renewed before it expires, at a whole second.
func TestARenewalIsNeverALoopAndNeverTooLate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		life := time.Duration(10+random.IntN(24*3600)) * time.Second
		spec := &v1alpha1.ReactorTokenSpec{RenewBefore: v1alpha1.DurationOf(time.Duration(random.IntN(25*3600)) * time.Second)}
		due := renewalTime(spec, types.UID(fmt.Sprint(random.Uint64())), granted(life)).Sub(noon)
		if minimum := min(minTimeToRenewal, life/2); due < minimum || due >= life {
			t.Fatalf("a token of %s with renewBefore %s is renewed after %s", life, spec.RenewBefore, due)
		}
		if due%time.Second != 0 {
			t.Fatalf("a token of %s is renewed after %s: not a whole second", life, due)
		}
	}
}

func TestTheJitterIsStableAndSpreadsABurst(t *testing.T) {
	const objects, span, buckets = 10000, 1000 * time.Second, 10
	var counts [buckets]int
	for range objects {
		uid := types.UID(uuid.NewString())
		jitter := spread(uid, span)
		if second := spread(uid, span); second != jitter {
			t.Fatalf("the jitter of %s is %s, and then %s", uid, jitter, second)
		}
		if jitter < 0 || jitter > span {
			t.Fatalf("the jitter %s is outside of %s", jitter, span)
		}
		counts[min(int(jitter*buckets/span), buckets-1)]++
	}
	for i, count := range counts {
		if count < objects/buckets*8/10 || count > objects/buckets*12/10 {
			t.Errorf("%d of %d fall into the tenth number %d", count, objects, i+1)
		}
	}
}

// Tokens that were made in one burst drift apart, since each has a period of its own.
func TestABurstDriftsApartCycleByCycle(t *testing.T) {
	spec := &v1alpha1.ReactorTokenSpec{}
	width := func(cycles int) time.Duration {
		first, last := noon.Add(1000*time.Hour), noon
		for i := range 100 {
			written := granted(6 * time.Hour)
			for range cycles {
				due := renewalTime(spec, types.UID(fmt.Sprint("uid-", i)), written)
				written = &targetsecret.Record{IssuedAt: due, ExpiresAt: due.Add(6 * time.Hour)}
			}
			if written.IssuedAt.Before(first) {
				first = written.IssuedAt
			}
			if written.IssuedAt.After(last) {
				last = written.IssuedAt
			}
		}
		return last.Sub(first)
	}
	if one, five := width(1), width(5); one < 30*time.Minute || five < 4*one {
		t.Errorf("a crowd is spread over %s after one cycle and %s after five", one, five)
	}
}

func TestBackoff(t *testing.T) {
	// The UID whose share of the jitter is next to nothing shows the plain numbers.
	const uid types.UID = "plain"
	share := spread(uid, time.Hour)
	plain := func(d time.Duration) time.Duration {
		return (d - time.Duration(float64(d)/5*float64(share)/float64(time.Hour))).Round(time.Second)
	}
	tests := []struct {
		name     string
		failures int32
		limit    time.Duration
		left     time.Duration
		want     time.Duration
	}{
		{"it begins with five seconds", 1, mintBackoffCap, 0, plain(5 * time.Second)},
		{"it doubles", 2, mintBackoffCap, 0, plain(10 * time.Second)},
		{"it doubles again", 3, mintBackoffCap, 0, plain(20 * time.Second)},
		{"it is bounded", 7, mintBackoffCap, 0, plain(mintBackoffCap)},
		{"it stays bounded", 1000, mintBackoffCap, 0, plain(mintBackoffCap)},
		{"it is bounded for the largest count", 1<<31 - 1, mintBackoffCap, 0, plain(mintBackoffCap)},
		{"no failure counts as the first", 0, mintBackoffCap, 0, plain(5 * time.Second)},
		{"another bound", 10, writeBackoffCap, 0, plain(writeBackoffCap)},
		{"at most a quarter of what is left", 10, mintBackoffCap, 4 * time.Minute, time.Minute},
		{"shorter and shorter", 10, mintBackoffCap, 40 * time.Second, 10 * time.Second},
		{"never less than a second", 10, mintBackoffCap, time.Second, time.Second},
		{"after the expiry it knows no bound of it", 10, mintBackoffCap, -time.Hour, plain(mintBackoffCap)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, backoff(test.failures, test.limit, uid, test.left)); diff != "" {
				t.Errorf("backoff (-want +got):\n%s", diff)
			}
		})
	}
}

func TestABackoffDiffersFromObjectToObjectByAFifthAtMost(t *testing.T) {
	observed := map[time.Duration]bool{}
	for i := range 1000 {
		wait := backoff(100, mintBackoffCap, types.UID(fmt.Sprint(i)), 0)
		if wait > mintBackoffCap || wait < mintBackoffCap*4/5 {
			t.Fatalf("backoff %s", wait)
		}
		observed[wait] = true
	}
	if len(observed) < 50 {
		t.Errorf("a thousand objects return at %d instants", len(observed))
	}
}

func TestTheLongestBackoffFitsTheLifeOfTheToken(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		20 * time.Second: mintBackoffBase,
		time.Minute:      6 * time.Second,
		30 * time.Minute: 3 * time.Minute,
		time.Hour:        mintBackoffCap,
		6 * time.Hour:    mintBackoffCap,
	} {
		if got := maxMintBackoff(lifetime); got != want {
			t.Errorf("%s: %s, want %s", lifetime, got, want)
		}
	}
}

// The many attempts just before its expiry must not count against those after it, also where Reactor grants less than is asked for.
func TestTheWaitAfterFailuresIsBoundedByTheLifetimeThatIsGranted(t *testing.T) {
	token := newToken("web")
	away := &reactor.Error{Class: reactor.ClassUnavailable}
	if got := mintRetryDelay(token, &failedMint{err: away, failures: 9}); got < 4*time.Minute {
		t.Errorf("of a token of hours: %s", got)
	}
	token.Status.GrantedLifetime = "20s"
	if got := mintRetryDelay(token, &failedMint{err: away, failures: 9}); got > mintBackoffBase {
		t.Errorf("of one that is granted for 20 s: %s", got)
	}
	token.Status.GrantedLifetime = "12h"
	if got := mintRetryDelay(token, &failedMint{err: away, failures: 9}); got > mintBackoffCap {
		t.Errorf("of one that is granted for longer: %s", got)
	}
}
