package node

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// newNamespaces makes a process the first one of namespaces of its own, in a session of its own, since an interrupt at the terminal
// is for us. It ends with us.
func newNamespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Setsid:     true,
	}
}

// enter calls a function within the network of another process. Sockets that it opens stay there.
func enter[T any](pid string, open func() (T, error)) (T, error) {
	type result struct {
		opened T
		err    error
	}
	results := make(chan result)
	// The network is one of the thread. The goroutine never unlocks it, so the thread ends with it and serves no other goroutine.
	go func() {
		runtime.LockOSThread()
		var r result
		if r.err = join(pid); r.err == nil {
			r.opened, r.err = open()
		}
		results <- r
	}()
	r := <-results
	return r.opened, r.err
}

// join moves the thread into the network of another process.
func join(pid string) error {
	network, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		return fmt.Errorf("enter the network of the node: %w", err)
	}
	defer func() { _ = network.Close() }() // it was only read
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of the node: %w", err)
	}
	return nil
}
