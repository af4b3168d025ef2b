// Command node runs an empty Kubernetes cluster of one node until it is interrupted:
//
//	make node
//
// It prints the line that points kubectl at it. It needs Linux, root and some programs, and says what is missing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/test/infra/node"
)

func main() {
	options := node.Options{Log: os.Stderr}
	pflag.StringArrayVar(&options.ControlPlane.CRDPaths, "crds", nil,
		"file or folder of CustomResourceDefinitions to install; may be given several times")
	pflag.StringArrayVar(&options.Images, "image", nil, "archive of an image that pods may use; may be given several times")
	pflag.DurationVar(&options.SyncFrequency, "sync-frequency", time.Minute, "how often kubelet checks a pod without changes")
	pflag.StringVar(&options.Dir, "dir", "", "folder where the logs stay; by default they go")
	check := pflag.Bool("check", false, "only say whether this machine can run a node")
	pflag.Parse()
	log.SetLogger(logr.Discard())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, options, *check); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, options node.Options, check bool) error {
	if reason := node.Supported(); reason != "" {
		return errors.New(reason)
	}
	if check {
		return nil
	}
	n, err := node.Start(ctx, options)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "the logs are in", n.Dir, "and kubectl in", n.ControlPlane.BinDir)
	fmt.Fprintln(os.Stderr, "pods reach this machine at", node.HostAddress)
	fmt.Fprintln(os.Stderr, "interrupt this with Ctrl-C to remove it all")
	_, err = fmt.Printf("export KUBECONFIG=%s\n", n.ControlPlane.KubeconfigPath())
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, n.Stop())
}
