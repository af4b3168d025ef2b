package v1alpha1_test

import (
	"math"
	"regexp"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestDurationsAreReadAsPeopleWriteThem(t *testing.T) {
	for name, test := range map[string]struct {
		text v1alpha1.Duration
		want time.Duration
	}{
		"hours":                           {"6h", 6 * time.Hour},
		"minutes":                         {"20m", 20 * time.Minute},
		"seconds":                         {"90s", 90 * time.Second},
		"all three":                       {"1h30m10s", time.Hour + 30*time.Minute + 10*time.Second},
		"units in any order":              {"30m1h", 90 * time.Minute},
		"zero":                            {"0s", 0},
		"the longest that the rule knows": {"99999h99999m99999s", 99999 * (time.Hour + time.Minute + time.Second)},
		"nothing is not set":              {"", 0},
		"what is no duration is not set":  {"6hrs", 0},
		"a number is not set":             {"3600", 0},
		"what is negative is not set":     {"-1h", 0},
		"parts of a second are cut off":   {"1500ms", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.text.Std(); got != test.want {
				t.Errorf("%q is %v, want %v", test.text, got, test.want)
			}
		})
	}
}

func TestDurationsAreWrittenAsPeopleWriteThem(t *testing.T) {
	for name, test := range map[string]struct {
		std  time.Duration
		want v1alpha1.Duration
	}{
		"no zero units":                        {6 * time.Hour, "6h"},
		"minutes":                              {20 * time.Minute, "20m"},
		"90 seconds are a minute and a half":   {90 * time.Second, "1m30s"},
		"all three":                            {time.Hour + time.Minute + time.Second, "1h1m1s"},
		"hours and seconds":                    {time.Hour + time.Second, "1h1s"},
		"days are hours":                       {48 * time.Hour, "48h"},
		"zero":                                 {0, "0s"},
		"less than a second is zero":           {999 * time.Millisecond, "0s"},
		"parts of a second are cut off":        {1999 * time.Millisecond, "1s"},
		"what is negative is zero":             {-time.Hour, "0s"},
		"the longest that is written as it is": {99999 * time.Hour, "99999h"},
		"what is longer is cut off":            {math.MaxInt64, "99999h"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := v1alpha1.DurationOf(test.std); got != test.want {
				t.Errorf("%v is written %q, want %q", test.std, got, test.want)
			}
		})
	}
}

// What the operator writes into status must pass the rule of the API server, and be read as what it was.
func TestAWrittenDurationPassesTheRuleAndIsReadAsWhatItWas(t *testing.T) {
	rule := regexp.MustCompile(`^([0-9]{1,5}[hms]){1,3}$`)
	for _, std := range []time.Duration{
		0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second, 59*time.Minute + 59*time.Second,
		time.Hour, 5*time.Hour + 59*time.Minute + 59*time.Second, 6 * time.Hour, 24 * time.Hour, 99998*time.Hour + 59*time.Second,
	} {
		text := v1alpha1.DurationOf(std)
		if !rule.MatchString(string(text)) {
			t.Errorf("the API server refuses %q, which %v is written as", text, std)
		}
		if got := text.Std(); got != std {
			t.Errorf("%v is written %q and read as %v", std, text, got)
		}
	}
}
