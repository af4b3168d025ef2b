package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

var (
	seeds     = flag.Int("seeds", 8, "how many schedules TestSchedules plays")
	from      = flag.Uint64("from", 0, "the seed of the first of them")
	shrinking = flag.Duration("shrink", time.Minute, "how long a schedule that fails is shortened")
	file      = flag.String("schedule", "", "a file with a schedule to be played instead, as a failure prints it")
	verbose   = flag.Bool("told", false, "print what the operator told, its log and events, of a schedule that fails")
)

func TestMain(m *testing.M) {
	if os.Getenv(isBusyLoop) != "" {
		loopForever()
	}
	flag.Parse()
	if isReplay() {
		replayFaithfully()
	}
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil //nolint:reassign // they share one time between all bubbles, and sleep until it
	os.Exit(m.Run())
}

// TestSchedules plays schedules that are drawn from seeds.
func TestSchedules(t *testing.T) {
	startBusyLoops(t)
	if *file != "" {
		came := play(t, readSchedule(t, *file))
		t.Logf("%d requests and %d writes, %d tokens, %d programs", came.counts.Requests, came.counts.Writes, came.counts.Mints, came.counts.Programs)
		return
	}
	var mu sync.Mutex
	var sum counts
	t.Run("all", func(t *testing.T) {
		for seed := *from; seed < *from+uint64(*seeds); seed++ {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				came := play(t, draw(seed))
				mu.Lock()
				defer mu.Unlock()
				sum.add(came.counts)
			})
		}
	})
	t.Logf("%d schedules: %s of virtual time, %d starts of the operator and %d crashes, %d requests and %d writes, %d tokens, %d programs, %d Reactor sessions",
		*seeds, sum.Virtual.Round(time.Hour), sum.Runs, sum.Crashes, sum.Requests, sum.Writes, sum.Mints, sum.Programs, sum.Sessions)
	t.Logf("schedules with %s", strings.Join(drawnWith(slices.Concat(queueOperations, policyOperations, betweenOperations, hostOperations)), ", "))
	if *seeds >= 8 && (sum.Mints == 0 || sum.Sessions == 0 || sum.Crashes == 0) {
		t.Error("the schedules show nothing")
	}
}

// drawnWith returns how many of the schedules have each of these operations.
func drawnWith(of []operation) []string {
	with := make([]string, 0, len(of))
	for _, o := range of {
		many := 0
		for seed := *from; seed < *from+uint64(*seeds); seed++ {
			if slices.ContainsFunc(draw(seed).Steps, func(s step) bool { return s.Do == o.name }) {
				many++
			}
		}
		with = append(with, fmt.Sprintf("%q: %d", o.name, many))
	}
	return with
}

func (c *counts) add(other counts) {
	c.Virtual += other.Virtual
	c.Runs += other.Runs
	c.Crashes += other.Crashes
	c.Requests += other.Requests
	c.Writes += other.Writes
	c.Calls += other.Calls
	c.Mints += other.Mints
	c.Programs += other.Programs
	c.Sessions += other.Sessions
}

// play plays a schedule, and shortens it when it fails.
func play(t *testing.T, plan schedule) result {
	t.Helper()
	came := simulate(t, plan)
	if len(came.found) == 0 {
		return came
	}
	var rules strings.Builder
	for _, f := range came.found {
		fmt.Fprintf(&rules, "  %s\n", f)
	}
	short := shrink(t, plan, came.found[0].rule, time.Now().Add(*shrinking))
	t.Errorf("%s%s", rules.String(), short)
	if *verbose {
		t.Log(came.told)
	}
	return came
}

func readSchedule(t *testing.T, path string) schedule {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var plan schedule
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return plan
}

// TestKeptSchedules plays the schedules that failed once, each of which is named after what it showed.
func TestKeptSchedules(t *testing.T) {
	kept, err := filepath.Glob("testdata/*.json")
	if err != nil || len(kept) == 0 {
		t.Fatalf("no schedules are kept: %v", err)
	}
	startBusyLoops(t)
	for _, path := range kept {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			play(t, readSchedule(t, path))
		})
	}
}
