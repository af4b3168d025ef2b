package capacity

import (
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Sessions take starts, and return some of them, at random. What pods use is never more than the burst and what the time brings.
func TestAStartThatIsReturnedDoesNotMakeTheBurstLarger(t *testing.T) {
	const perMinute = 10
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		slots := New(1000, perMinute, func(...types.NamespacedName) {})
		now, used, open := noon, []time.Time{}, map[types.UID]time.Time{}
		for number := range 60 {
			now = now.Add(time.Duration(random.IntN(4000)) * time.Millisecond)
			session := waitingSession("media", number)
			if slots.Admit(session, unchanged("key"), nil, now) != nil {
				slots.Release(session.UID)
			} else {
				open[session.UID] = now
			}
			for uid, taken := range open {
				switch random.IntN(6) {
				case 0:
					slots.Cancel(uid)
					delete(open, uid)
				case 1:
					slots.Release(uid)
					used = append(used, taken)
					delete(open, uid)
				}
			}
		}
		for _, from := range used {
			for _, to := range used {
				if to.Before(from) {
					continue
				}
				count := 0
				for _, at := range used {
					if !at.Before(from) && !at.After(to) {
						count++
					}
				}
				if maximum := startBurst + to.Sub(from).Minutes()*perMinute; float64(count) > maximum+0.001 {
					t.Fatalf("seed %d: %d starts in %s, want at most %.1f", seed, count, to.Sub(from), maximum)
				}
			}
		}
	}
}

func TestAStartThatIsReturnedLateIsWhole(t *testing.T) {
	left := newStarts(10)
	first, second := left.take(noon), left.take(noon.Add(time.Second))
	left.use(left.take(noon.Add(2 * time.Second)))
	left.undo(second)
	left.undo(first)
	if got := left.leftAt(noon.Add(2 * time.Second)); got != startBurst-1 {
		t.Errorf("%.2f are left", got)
	}
	if len(left.recent) != 0 {
		t.Errorf("%d are kept", len(left.recent))
	}
}

func TestStartsGoOnWhenTheClockWasAhead(t *testing.T) {
	left := newStarts(10)
	for range startBurst {
		left.use(left.take(noon.Add(24 * time.Hour)))
	}
	if wait := left.wait(noon); wait <= 0 || wait > time.Minute {
		t.Errorf("the next one waits for %s", wait)
	}
	if wait := left.wait(noon.Add(time.Minute)); wait != 0 {
		t.Errorf("a minute later it waits for %s", wait)
	}
}
