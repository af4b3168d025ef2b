// Command manifests renders the manifests of config/ and of the chart, and checks them:
//
//	go run -C hack/manifests . build --resource config/default --image ghcr.io/reactor-operator/reactor-operator=registry.example.com/operator:v1
//	go run -C hack/manifests . lint
//
// build prints the output of kustomize for folders of the repository, with other images. A release publishes this output.
//
// lint renders the chart with the values of its tests, every kustomization and every component of config/, and the manifests of
// examples/. kubeconform validates each object against the schemas of the CRDs and of the Kubernetes version of the tests. kube-score finds
// bad practices in everything except samples and examples. exemptions.go lists the accepted findings, each with its reason.
//
// It needs no network when the modules of the tests and of Helm are in Go's module cache.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "lint" {
		return lint(ctx, repository, stdout)
	}
	if len(args) > 0 && args[0] == "build" {
		o, err := parseOverlay(args[1:])
		if err != nil {
			return err
		}
		stream, err := build(repository, o)
		if err != nil {
			return err
		}
		_, err = stdout.Write(stream)
		return err
	}
	return fmt.Errorf("unknown command %q. Use lint or build", strings.Join(args, " "))
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parseOverlay(args []string) (overlay, error) {
	var o overlay
	var images list
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.Var((*list)(&o.resources), "resource", "a `folder` of the repository with a kustomization; may be given several times")
	flags.Var((*list)(&o.components), "component", "a `folder` of the repository with a component; may be given several times")
	flags.Var(&images, "image", "`NAME=REFERENCE`: use this image wherever the manifests name that one; may be given several times")
	if err := flags.Parse(args); err != nil {
		return overlay{}, err
	}
	for _, pair := range images {
		replaced, err := parseImage(pair)
		if err != nil {
			return overlay{}, err
		}
		o.images = append(o.images, replaced)
	}
	if len(o.resources) == 0 || flags.NArg() > 0 {
		return overlay{}, fmt.Errorf("build needs a --resource, and no other arguments than its flags: %q", flags.Args())
	}
	return o, nil
}
