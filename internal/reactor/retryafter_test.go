package reactor

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterIsReadInBothFormsAndBounded(t *testing.T) {
	server := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	tests := []struct {
		name, value string
		want        time.Duration
	}{
		{"absent", "", 0},
		{"seconds", "120", 2 * time.Minute},
		{"seconds with blanks around", " 7 ", 7 * time.Second},
		{"no wait", "0", 0},
		{"a day at most", "86401", 24 * time.Hour},
		{"a number beyond int64 is a long time", "99999999999999999999999", 24 * time.Hour},
		{"negative seconds are not understood", "-5", 0},
		{"a fraction is not understood", "1.5", 0},
		{"words are not understood", "soon", 0},
		{"a date, against the server's clock", server.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{"a date of now", server.Format(http.TimeFormat), 0},
		{"a past date", server.Add(-time.Hour).Format(http.TimeFormat), 0},
		{"a date years ahead", server.AddDate(900, 0, 0).Format(http.TimeFormat), 24 * time.Hour},
		{"a date in the form of RFC 850", server.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"), time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := retryAfter(test.value, server); got != test.want {
				t.Errorf("retryAfter(%q) = %s, want %s", test.value, got, test.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "1", "-1", "86400", "1e9", "99999999999999999999", "Mon, 23 Nov 2026 05:01:00 GMT",
		"Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", " \t", "٣", "1;2"} {
		f.Add(seed, int64(1795400000))
		f.Add(seed, int64(-62135596800))
	}
	f.Fuzz(func(t *testing.T, value string, unix int64) {
		if got := retryAfter(value, time.Unix(unix, 0)); got < 0 || got > 24*time.Hour {
			t.Errorf("retryAfter(%q) = %s", value, got)
		}
	})
}
