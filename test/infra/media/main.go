// Command media is the emulator of Reactor with a model behind it that shows a moving test picture, over real WebRTC: what the real JavaScript
// SDK needs to become ready and to show video. Its flags are those of cmd/reactor-emulator. It is a module of its own, so that WebRTC stays out
// of the operator's.
package main

import (
	"fmt"
	"os"

	"github.com/reactor-operator/reactor-operator/cmd/reactor-emulator/app"

	"github.com/reactor-operator/reactor-operator/test/infra/media/picture"
)

func main() {
	player, err := picture.NewPlayer()
	if err != nil {
		fmt.Fprintln(os.Stderr, "media:", err)
		os.Exit(1)
	}
	os.Exit(app.Main(player))
}
