package main

import (
	"math"
	"slices"
	"time"
)

// quantile is the smallest value that at least the share q of all values does not exceed; values are sorted.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	at := int(math.Ceil(q*float64(len(values)))) - 1
	return values[min(max(at, 0), len(values)-1)]
}

// rounded keeps four significant digits: no measurement has more.
func rounded(value float64) float64 {
	if value == 0 || math.IsInf(value, 0) || math.IsNaN(value) {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(value)))-3)
	if unit >= 1 {
		return math.Round(value)
	}
	return math.Round(value/unit) / math.Round(1/unit)
}

// mean is the arithmetic mean; 0 of nothing.
func mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return sum / float64(len(values))
}

// ratio is 0 where there is nothing to compare with.
func ratio(value, floor float64) float64 {
	if floor == 0 {
		return 0
	}
	return value / floor
}

// seconds are instants as seconds since a beginning, sorted.
func seconds(instants []time.Time, since time.Time) []float64 {
	passed := make([]float64, 0, len(instants))
	for _, instant := range instants {
		passed = append(passed, instant.Sub(since).Seconds())
	}
	slices.Sort(passed)
	return passed
}

// busiestWindow is how many of the sorted instants fall into one window of this width, at the most.
func busiestWindow(instants []float64, width float64) int {
	most, first := 0, 0
	for last := range instants {
		for instants[last]-instants[first] >= width {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// overdraft is by how many a rate of calls with a burst was exceeded, in whatever window that shows most; negative when it was not. Instants
// are sorted.
func overdraft(instants []float64, perSecond float64, burst int) float64 {
	worst, least := math.Inf(-1), math.Inf(1)
	for i, instant := range instants {
		spent := perSecond * instant
		least = min(least, float64(i)-spent)
		worst = max(worst, float64(i+1)-spent-least-float64(burst))
	}
	return worst
}

// buckets counts the instants in each width from begin on until before end.
func buckets(instants []float64, begin, end, width float64) []float64 {
	counts := make([]float64, max(int(math.Floor((end-begin)/width)), 0))
	for _, instant := range instants {
		if at := int(math.Floor((instant - begin) / width)); instant >= begin && at < len(counts) {
			counts[at]++
		}
	}
	return counts
}

// between are the sorted instants from begin on until before end.
func between(instants []float64, begin, end float64) []float64 {
	from, _ := slices.BinarySearch(instants, begin)
	to, _ := slices.BinarySearch(instants, end)
	return instants[from:max(from, to)]
}

// rateUsed is the share of a rate that was used from the first to the last of the sorted instants. What the burst let through at once does
// not count.
func rateUsed(instants []float64, perSecond float64, burst int) float64 {
	if len(instants) <= burst {
		return 0
	}
	// The first call after the burst comes one interval after the beginning.
	took := instants[len(instants)-1] - instants[0]
	return ratio(float64(len(instants)-burst), perSecond*took)
}
