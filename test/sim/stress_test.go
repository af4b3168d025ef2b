package sim

import (
	"flag"
	"os"
	"os/exec"
	"testing"
)

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
	for { //nolint:revive // it is there to spin
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
