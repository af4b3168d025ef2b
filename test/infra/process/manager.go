package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BuildManager returns the path of the operator's program. make test builds the program once for all packages and names it in MANAGER. Without
// that, BuildManager builds it into a folder; flags are those of go build, such as -race. It returns an error if the program cannot be built.
func BuildManager(ctx context.Context, folder string, flags ...string) (string, error) {
	if built := os.Getenv("MANAGER"); built != "" {
		return built, nil
	}
	program := filepath.Join(folder, "manager")
	args := append([]string{"build", "-o", program}, flags...)
	command := exec.CommandContext(ctx, "go", append(args, "github.com/reactor-operator/reactor-operator/cmd/manager")...)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, output)
	}
	return program, nil
}
