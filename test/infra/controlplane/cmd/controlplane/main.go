// Command controlplane runs a Kubernetes control plane with the operator's CRDs until it is interrupted:
//
//	KUBEBUILDER_ASSETS=$(go -C test/infra/cluster run ./build) go run ./test/infra/controlplane/cmd/controlplane
//
// It prints the line that points kubectl at it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
)

func main() {
	options := controlplane.Options{Log: os.Stderr}
	pflag.StringArrayVar(&options.CRDPaths, "crds", []string{"config/crd/bases"}, "file or folder of CustomResourceDefinitions to install; may be given several times")
	pflag.BoolVar(&options.Scheduler, "scheduler", false, "run kube-scheduler too")
	pflag.StringVar(&options.Dir, "dir", "", "folder where the logs stay; by default a temporary one, which goes")
	pflag.Parse()
	log.SetLogger(logr.Discard())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options); err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, options controlplane.Options) error {
	cp, err := controlplane.Start(ctx, options)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "the logs are in", cp.Dir, "and kubectl in", cp.BinDir)
	fmt.Fprintln(os.Stderr, "interrupt this with Ctrl-C to remove it all")
	_, err = fmt.Printf("export KUBECONFIG=%s\n", cp.KubeconfigPath())
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, cp.Stop())
}
