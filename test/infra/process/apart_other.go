//go:build !linux

package process

import "syscall"

// Apart starts a program in a group of its own, since an interrupt at the terminal is for us, who stop it in order.
func Apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
