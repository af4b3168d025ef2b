//go:build !linux

package process

import "syscall"

// Apart starts a program in a group of its own, since an interrupt at the terminal is for this process, which stops it in order.
func Apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
