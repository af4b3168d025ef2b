package node

import (
	"errors"
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

// enter calls a function within the network of another process, and returns to this process's own. Sockets that it opens stay there.
//
// The thread must not end, as it would with a goroutine that stays locked to it: 1. The thread has started containerd. 2. It enters the
// network, and ends. 3. The kernel sends containerd the signal that containerd gets when its parent dies, because for the kernel the parent is
// the thread.
func enter[T any](pid string, open func() (T, error)) (opened T, err error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return opened, fmt.Errorf("enter the network of the node: %w", err)
	}
	defer func() { _ = own.Close() }() // it was only read
	if err := join("/proc/" + pid + "/ns/net"); err != nil {
		runtime.UnlockOSThread()
		return opened, fmt.Errorf("enter the network of the node: %w", err)
	}
	opened, err = open()
	if returned := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); returned != nil {
		// No other goroutine may run on a thread of the wrong network.
		return opened, errors.Join(err, fmt.Errorf("return from the network of the node: %w", returned))
	}
	runtime.UnlockOSThread()
	return opened, err
}

// join moves the thread into a network.
func join(path string) error {
	network, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = network.Close() }() // it was only read
	return unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
}
