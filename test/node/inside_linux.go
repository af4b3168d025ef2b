package node

import "syscall"

// newNamespaces makes a process the first one of namespaces of its own, in a session of its own, since an interrupt at the terminal
// is for us. It ends with us.
func newNamespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Setsid:     true,
	}
}
