package main

import "syscall"

// apart starts a program in a group of its own, since an interrupt at the terminal is for the demo, which stops it in order;
// and makes it end with the demo, should that be killed.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
