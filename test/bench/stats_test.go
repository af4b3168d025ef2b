package main

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAQuantileIsOneOfTheValues(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		q      float64
		want   float64
	}{
		"nothing has none":                       {nil, 0.5, 0},
		"one value is all of them":               {[]float64{7}, 0.99, 7},
		"the median of an odd number":            {[]float64{1, 2, 9}, 0.5, 2},
		"the median of an even one is the lower": {[]float64{1, 2, 8, 9}, 0.5, 2},
		"p0 is the smallest":                     {[]float64{3, 4}, 0, 3},
		"p100 is the largest":                    {[]float64{3, 4}, 1, 4},
		"p99 of a hundred is the last but one":   {hundred(), 0.99, 99},
		"p99 of fewer is the largest":            {[]float64{1, 2, 3}, 0.99, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quantile(test.values, test.q); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// hundred are the numbers from 1 to 100.
func hundred() []float64 {
	var values []float64
	for i := range 100 {
		values = append(values, float64(i+1))
	}
	return values
}

func TestFourDigitsAreKept(t *testing.T) {
	for value, want := range map[float64]float64{0: 0, 0.0123456: 0.01235, 1.23456: 1.235, 123456.7: 123457, -98.7654: -98.77, math.Inf(1): 0} {
		if got := rounded(value); got != want {
			t.Errorf("%v becomes %v, want %v", value, got, want)
		}
	}
}

func TestMeanAndRatioOfNothingAreZero(t *testing.T) {
	if mean(nil) != 0 || ratio(1, 0) != 0 || mean([]float64{1, 2}) != 1.5 || ratio(3, 2) != 1.5 {
		t.Error("the mean or the ratio is wrong")
	}
}

func TestInstantsBecomeSortedSeconds(t *testing.T) {
	begin := time.Unix(100, 0)
	got := seconds([]time.Time{begin.Add(2 * time.Second), begin.Add(500 * time.Millisecond)}, begin)
	if diff := cmp.Diff([]float64{0.5, 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheBusiestWindowSlides(t *testing.T) {
	for name, test := range map[string]struct {
		instants []float64
		want     int
	}{
		"nothing":                            {nil, 0},
		"a window does not hold its end":     {[]float64{0, 1, 2}, 1},
		"three in one second across its tip": {[]float64{0, 0.6, 0.9, 1.5}, 3},
		"all at once":                        {[]float64{5, 5, 5}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := busiestWindow(test.instants, 1); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestAnOverdraftIsSeenInWhateverWindowItHappens(t *testing.T) {
	for name, test := range map[string]struct {
		instants []float64
		want     float64
	}{
		"the burst and then the rate":                   {[]float64{0, 0, 0.1, 0.2, 0.3}, 0},
		"one more at once than the burst":               {[]float64{0, 0, 0, 0.1}, 1},
		"a bucket that was full again after a pause":    {[]float64{0, 0, 5, 5, 5.1}, 0},
		"an overdraft after a long quiet time":          {[]float64{0, 9, 9, 9, 9}, 2},
		"slower than the rate leaves the burst unspent": {[]float64{0, 1, 2}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := overdraft(test.instants, 10, 2); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestBucketsCountWhatBeginsInThem(t *testing.T) {
	got := buckets([]float64{-1, 0, 9.9, 10, 25, 31}, 0, 30, 10)
	if diff := cmp.Diff([]float64{2, 1, 1}, got); diff != "" {
		t.Error(diff)
	}
	if got := buckets(nil, 10, 5, 10); len(got) != 0 {
		t.Errorf("a time that ends before it begins has %d buckets", len(got))
	}
}

func TestBetweenTakesTheBeginAndLeavesTheEnd(t *testing.T) {
	if diff := cmp.Diff([]float64{1, 2}, between([]float64{0, 1, 2, 3}, 1, 3)); diff != "" {
		t.Error(diff)
	}
	if got := between([]float64{0, 1}, 1, 0); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestTheShareOfARateLeavesTheBurstOut(t *testing.T) {
	var all []float64
	for i := range 1000 { // 40 at once, then one each 5 ms
		all = append(all, float64(max(i-39, 0))*0.005)
	}
	if got := rateUsed(all, 200, 40); math.Abs(got-1) > 1e-9 {
		t.Errorf("all of the rate was used, and the share is %v", got)
	}
	for i := range all {
		all[i] *= 2
	}
	if got := rateUsed(all, 200, 40); math.Abs(got-0.5) > 1e-9 {
		t.Errorf("half of the rate was used, and the share is %v", got)
	}
	if got := rateUsed(all[:40], 200, 40); got != 0 {
		t.Errorf("a burst says nothing of the rate, and the share is %v", got)
	}
}
