package mintqueue

import (
	"testing"
	"time"
)

func TestAnAnswerToACallThatWasSentBeforeTheGateClosed(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	first, second := Request{Object: objectNamed("first")}, Request{Object: objectNamed("second")}
	for name, test := range map[string]struct {
		closing    Answer
		late       Answer
		retryAfter time.Duration
		want       KeyStatus // of the one that closed it
	}{
		"a token after a 429":                       {AnswerRateLimited, AnswerAccepted, 0, KeyStatus{KeyRateLimited, true, now.Add(10 * time.Minute)}},
		"a second 429 that names no time":           {AnswerRateLimited, AnswerRateLimited, 0, KeyStatus{KeyRateLimited, true, now.Add(10 * time.Minute)}},
		"a second 429 that names a later time":      {AnswerRateLimited, AnswerRateLimited, time.Hour, KeyStatus{KeyRateLimited, true, now.Add(time.Hour)}},
		"a 401 after a 429":                         {AnswerRateLimited, AnswerRejected, 0, KeyStatus{KeyRateLimited, true, now.Add(10 * time.Minute)}},
		"a 429 after a 401":                         {AnswerRejected, AnswerRateLimited, time.Hour, KeyStatus{KeyRejected, true, now.Add(MinProbeWait)}},
		"a second 401":                              {AnswerRejected, AnswerRejected, 0, KeyStatus{KeyRejected, true, now.Add(MinProbeWait)}},
		"a token after a 401, which was a mistake":  {AnswerRejected, AnswerAccepted, 0, KeyStatus{State: KeyAccepted}},
		"no Answer after a 401, which says nothing": {AnswerRejected, AnswerNone, 0, KeyStatus{KeyRejected, true, now.Add(MinProbeWait)}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKey("k", MinProbeWait)
			k.state = KeyAccepted
			k.recordAnswer(first, Outcome{test.closing, 10 * time.Minute}, now)
			k.recordAnswer(second, Outcome{test.late, test.retryAfter}, now)
			if got := k.status(first.Object, now); got != test.want {
				t.Errorf("the key is %+v, want %+v", got, test.want)
			}
			if _, waits := k.waiting[second.Object]; waits != (test.late == AnswerRejected || test.late == AnswerRateLimited) {
				t.Errorf("the one that was answered late waits for the key: %v", waits)
			}
		})
	}
}
