package main

import (
	"log/slog"
	"os"
)

const (
	// block is the size of one allocation, in bytes.
	block = 16 << 20
	// maxMemory is the maximum that is allocated if nothing else stops it, in bytes.
	maxMemory = 1 << 30
)

// takeMemory allocates memory until the kernel kills the program.
func takeMemory() {
	var taken [][]byte
	for len(taken) < maxMemory/block {
		more := make([]byte, block)
		for i := range more {
			more[i] = 1 // a page uses memory only after a write
		}
		taken = append(taken, more)
	}
	slog.Error("the container has no memory limit", "taken", len(taken)*block)
}

// takeDisk writes a file of four blocks. This is more than the sizeLimit of the volume in the tests, which the kubelet enforces.
func takeDisk(folder string) error {
	return os.WriteFile(folder+"/fill", make([]byte, 4*block), 0o600)
}
