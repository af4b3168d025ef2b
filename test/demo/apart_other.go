//go:build !linux

package main

import "syscall"

// apart starts a program in a group of its own, since an interrupt at the terminal is for the demo, which stops it in order.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
