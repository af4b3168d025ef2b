package sim

import (
	"slices"
	"testing"
	"time"
)

// shrink leaves out of a schedule what it does not need to break the rule, in ever smaller parts, until the deadline. A shorter one that
// fails in one of a few tries will do: see the package's documentation.
func shrink(t *testing.T, plan schedule, rule string, deadline time.Time) schedule {
	t.Helper()
	return shrinkWith(plan, func(shorter schedule) bool {
		const tries = 2
		for range tries {
			if time.Now().After(deadline) {
				return false
			}
			if slices.ContainsFunc(simulate(t, shorter).found, func(f finding) bool { return f.rule == rule }) {
				return true
			}
		}
		return false
	})
}

// shrinkWith leaves out whatever fails does not need. The time before a step that is left out is spent before the next one.
func shrinkWith(plan schedule, fails func(schedule) bool) schedule {
	for part := max(len(plan.Steps)/2, 1); ; {
		shorter := false
		for begin := 0; begin < len(plan.Steps); {
			without := leaveOut(plan, begin, min(begin+part, len(plan.Steps)))
			if fails(without) {
				plan, shorter = without, true
			} else {
				begin += part
			}
		}
		if part == 1 && !shorter {
			return plan
		}
		part = max(part/2, 1)
	}
}

func leaveOut(plan schedule, begin, end int) schedule {
	steps := slices.Clone(plan.Steps)
	if end < len(steps) {
		for _, left := range steps[begin:end] {
			steps[end].After += left.After
		}
	}
	plan.Steps = slices.Delete(steps, begin, end)
	return plan
}

func TestShrinkLeavesWhatIsNeeded(t *testing.T) {
	plan := schedule{}
	for i, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		plan.Steps = append(plan.Steps, step{Do: name, After: time.Duration(i+1) * time.Second})
	}
	has := func(plan schedule, name string) bool {
		return slices.ContainsFunc(plan.Steps, func(s step) bool { return s.Do == name })
	}
	got := shrinkWith(plan, func(shorter schedule) bool { return has(shorter, "b") && has(shorter, "f") })
	if len(got.Steps) != 2 || got.Steps[0] != (step{Do: "b", After: 3 * time.Second}) || got.Steps[1] != (step{Do: "f", After: 18 * time.Second}) {
		t.Errorf("of the schedule is left: %v", got.Steps)
	}
	if len(plan.Steps) != 7 || plan.Steps[1].After != 2*time.Second {
		t.Error("the schedule itself was changed")
	}
}
