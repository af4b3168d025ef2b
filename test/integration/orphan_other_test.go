//go:build !linux

package integration

import "syscall"

// endsWithUs is what only Linux can do.
func endsWithUs() *syscall.SysProcAttr { return nil }
