package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheLongestWaitIsFoundInEachWidth(t *testing.T) {
	w := waits{}
	for _, sample := range [][2]float64{{0, 1}, {9.9, 3}, {10, 2}, {31, 5}} {
		w.add(sample[0], sample[1])
	}
	if diff := cmp.Diff([]float64{3, 2, 0, 5}, w.most(10)); diff != "" {
		t.Errorf("the longest of each 10 s (-want +got):\n%s", diff)
	}
	if got := w.within(9.9, 31); got != 3 {
		t.Errorf("the longest before 31 s is %v, want 3", got)
	}
	if got := w.within(40, 50); got != 0 {
		t.Errorf("the longest of none is %v, want 0", got)
	}
}
