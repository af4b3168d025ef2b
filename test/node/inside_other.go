//go:build !linux

package node

import "syscall"

// newNamespaces is what only Linux can do; Supported has said so.
func newNamespaces() *syscall.SysProcAttr { return nil }
