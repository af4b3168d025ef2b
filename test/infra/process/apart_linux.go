package process

import "syscall"

// Apart starts a program in a group of its own, since an interrupt at the terminal is for this process, which stops it in order; and
// makes it end with us, should we be killed.
func Apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
