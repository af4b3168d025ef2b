//go:build !linux

package node

import (
	"errors"
	"syscall"
)

// newNamespaces is what only Linux can do; Supported has reported that.
func newNamespaces() *syscall.SysProcAttr { return nil }

// enter is what only Linux can do, too.
func enter[T any](string, func() (T, error)) (opened T, err error) {
	return opened, errors.ErrUnsupported
}
