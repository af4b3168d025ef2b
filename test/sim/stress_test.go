package sim

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A replay is the schedule of a file, or one seed, without busy loops.
func isReplay() bool { return *busy == 0 && (*file != "" || *seeds == 1) }

// isFaithful is the variable of the environment that a replay has, and "off" switches off.
const isFaithful = "SIM_FAITHFUL"

// replayFaithfully starts the test binary again, as the same process, on one processor and without asynchronous preemption. A goroutine then
// runs until it waits, and the next one is decided by Go's scheduler alone. It does not return, unless the settings are in force.
func replayFaithfully() {
	if os.Getenv(isFaithful) != "" {
		return
	}
	debug := strings.TrimPrefix(os.Getenv("GODEBUG")+",asyncpreemptoff=1", ",")
	program, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Setenv(isFaithful, "on"), os.Setenv("GOMAXPROCS", "1"), os.Setenv("GODEBUG", debug))
	}
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "start the replay on one processor: %v\n", err)
	os.Exit(1)
}

// busy is how many processes compete for the processors while schedules are played. A process that loses its processor in the middle of a
// step lets other goroutines overtake it, which an idle machine does not show.
var busy = flag.Int("busy", 0, "how many busy loops run beside the schedules, as processes of their own")

// isBusyLoop is the variable of the environment that makes the test binary a busy loop.
const isBusyLoop = "SIM_BUSY_LOOP"

// loopForever spins until its standard input closes, which it does when the process that started it ends, however that ends.
func loopForever() {
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	for { //nolint:staticcheck // it is there to spin
	}
}

// startBusyLoops starts the busy loops, which end with the test.
func startBusyLoops(t *testing.T) {
	t.Helper()
	for range *busy {
		loop := exec.CommandContext(t.Context(), os.Args[0])
		loop.Env = append(os.Environ(), isBusyLoop+"=1", "GOMAXPROCS=2")
		if _, err := loop.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := loop.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		})
	}
}
