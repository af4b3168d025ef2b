// Command reactor-emulator serves a local Reactor API, for tests and for trials without an account.
package main

import (
	"os"

	"github.com/reactor-operator/reactor-operator/cmd/reactor-emulator/app"
)

func main() { os.Exit(app.Main(nil)) }
