package release

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	"github.com/reactor-operator/reactor-operator/test/infra/helm"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
)

const (
	repository = "../../.."
	// registry is where the images of a release are.
	registry = "ghcr.io/reactor-operator"

	systemNamespace = "reactor-operator-system"
	operatorName    = "reactor-operator"
	trialNamespace  = "reactor-try"

	// patience is how long a test waits. It measures nothing: it ends tests that wait in vain.
	patience = expect.Timeout
)

// images are those of a release.
var images = []string{operatorName, "reactor-token-server", "reactor-emulator"}

// shared is what the tests share.
var shared struct {
	*node.Node
	folder string // with the files of the release
	helm   string
}

func TestMain(m *testing.M) {
	flag.Parse()
	if shared.folder = os.Getenv("RELEASE_FILES"); shared.folder == "" {
		fmt.Println("skipped: make release-dry-run runs these tests")
		return
	}
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	log.SetLogger(logr.Discard())
	if shared.helm, err = helm.Build(ctx, repository); err != nil {
		return 1, err
	}
	if shared.Node, err = node.Start(ctx, node.Options{}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.Stop()) }()
	for _, image := range images {
		if err := shared.ImportDigest(ctx, filepath.Join(shared.folder, image+".tar"), registry+"/"+image); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := tryKubectl(context.WithoutCancel(t.Context()), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, state(t))
	}
	return output
}

func tryKubectl(ctx context.Context, args ...string) (string, error) {
	return shared.ControlPlane.Kubectl(ctx, args...)
}

// state is what a reader of a failure needs.
func state(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"get", "pods,jobs,reactortokens", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
		{"logs", "--namespace=" + systemNamespace, "deployment/" + operatorName, "--tail=20"},
	} {
		output, err := tryKubectl(context.WithoutCancel(t.Context()), args...)
		fmt.Fprintf(&all, "kubectl %s\n%s\n", strings.Join(args, " "), cmp.Or(output, fmt.Sprint(err)))
	}
	return all.String()
}

// eventually waits until check returns nil. Otherwise the test fails with the last error, and with the state of the cluster.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	expect.Eventually(t, what, func() error { return check(t.Context()) }, func() string { return state(t) })
}
