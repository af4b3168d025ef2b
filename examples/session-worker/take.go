package main

import (
	"log/slog"
	"os"
)

const (
	// block is how much is taken at once, in bytes.
	block = 16 << 20
	// most ends the taking where nothing else does, in bytes.
	most = 1 << 30
)

// takeMemory takes memory until the kernel kills the program.
func takeMemory() {
	var taken [][]byte
	for len(taken) < most/block {
		more := make([]byte, block)
		for i := range more {
			more[i] = 1 // a page that was never written to takes none
		}
		taken = append(taken, more)
	}
	slog.Error("there is no limit of memory", "taken", len(taken)*block)
}

// takeDisk writes a file of four blocks: more than a volume may hold whose sizeLimit the kubelet is to keep.
func takeDisk(folder string) error {
	return os.WriteFile(folder+"/fill", make([]byte, 4*block), 0o600)
}
