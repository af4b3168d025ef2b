package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	chartFolder = "charts/reactor-operator"
	valuesFile  = "bin/install/values.json"
	trialFolder = "bin/try"
)

// up installs. It checks everything that can be wrong before it builds the images.
func (s *session) up(ctx context.Context) error {
	s.printf("%s: %s\n", s.what.up, s.target)
	d, err := chooseDelivery(s.target, s.registry, s.version)
	if err != nil {
		return err
	}
	if err := s.needCommands(d); err != nil {
		return err
	}
	architectures, err := s.preflight(ctx, d)
	if err != nil {
		return err
	}
	if err := s.askFor(fmt.Sprintf("Install the operator as release %q in namespace %q", s.what.release, s.what.namespace)); err != nil {
		return err
	}
	digests, err := s.deliver(ctx, d, architectures)
	if err != nil {
		return err
	}
	if err := s.install(ctx, d, digests); err != nil {
		return err
	}
	if s.what.trial {
		if err := s.try(ctx, d, digests); err != nil {
			return err
		}
	}
	s.printf("\n%s took %s.\n%s", s.what.up, s.elapsed(), s.next())
	return nil
}

// needCommands fails if a program is missing that a later step runs.
func (s *session) needCommands(d delivery) error {
	names := []string{"make", "bash"}
	if s.what.trial {
		names = append(names, s.kubectl)
	}
	if commands := s.target.loadCommands([]string{""}); !d.push && len(commands) > 0 {
		names = append(names, commands[0][0])
	}
	return needCommands(names...)
}

// preflight rejects an installation that cannot work, and returns the architectures to build for.
func (s *session) preflight(ctx context.Context, d delivery) (architectures []string, err error) {
	err = s.step("check the cluster", func() error {
		owners, err := s.cluster.owners(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w. Check that the cluster runs and that you have cluster-admin permissions", s.target, err)
		}
		if err := checkOwners(s.what, owners); err != nil {
			return err
		}
		if err := s.checkNamespaces(ctx); err != nil {
			return err
		}
		all, err := s.cluster.architectures(ctx)
		if err != nil {
			return err
		}
		architectures, err = checkArchitectures(all, d.push)
		return err
	})
	return architectures, err
}

// checkNamespaces rejects a trial in a namespace that another user created, because `make try-down` deletes the namespace.
func (s *session) checkNamespaces(ctx context.Context) error {
	if !s.what.trial {
		return nil
	}
	for _, name := range s.what.namespaces() {
		mark, exists, err := s.cluster.installedBy(ctx, name)
		if err != nil {
			return err
		}
		if exists && mark != s.what.installedBy() {
			return fmt.Errorf("the namespace %q exists, and `%s` did not create it. Nothing was changed. Delete the namespace if it is not needed", name, s.what.up)
		}
	}
	return nil
}

// deliver builds the images and gets them into the cluster, and returns their digests.
func (s *session) deliver(ctx context.Context, d delivery, architectures []string) (map[string]string, error) {
	what := "build the images for " + strings.Join(architectures, " and ")
	if d.push {
		what += " and push them to " + d.prefix
	}
	if err := s.step(what, func() error {
		err := command(ctx, append([]string{"make"}, d.makeArgs(architectures)...)...)
		if err != nil && d.push {
			return fmt.Errorf("%w\nCheck that you are logged in to the registry, and that you can push to REGISTRY=%s", err, d.prefix)
		}
		return err
	}); err != nil {
		return nil, err
	}
	names := s.what.images()
	if !d.push {
		if err := s.load(ctx, names); err != nil {
			return nil, err
		}
	}
	return readDigests(names)
}

func (s *session) load(ctx context.Context, names []string) error {
	var archives []string
	for _, name := range names {
		archive, err := filepath.Abs(filepath.Join("bin", name+".tar"))
		if err != nil {
			return err
		}
		archives = append(archives, archive)
	}
	return s.step("load the images into the cluster", func() error {
		for _, load := range s.target.loadCommands(archives) {
			if err := command(ctx, load...); err != nil {
				return fmt.Errorf("load an image into %s: %w\nCheck that the cluster runs on this machine; if it does not, add REGISTRY=…. "+
					"For a node of `make node`, run this as root", s.target, err)
			}
		}
		return nil
	})
}

// install installs the chart, or upgrades it, and waits until the operator is ready.
func (s *session) install(ctx context.Context, d delivery, digests map[string]string) error {
	values := s.what.values(d, digests)
	if err := s.step(fmt.Sprintf("install the chart as release %q in namespace %q", s.what.release, s.what.namespace), func() error {
		if err := s.cluster.ensureNamespace(ctx, s.what.namespace, s.what.installedBy()); err != nil {
			return err
		}
		if err := writeJSON(valuesFile, values); err != nil {
			return err
		}
		args := append([]string{
			"upgrade", "--install", s.what.release, chartFolder, "--values", valuesFile, "--labels", installedByLabel + "=" + s.what.installedBy(),
		}, s.helmArgs...)
		if err := s.runHelm(ctx, args...); err != nil {
			return fmt.Errorf("install the chart: %w\nTo remove the incomplete installation, run `%s`", err, s.what.down)
		}
		return nil
	}); err != nil {
		return err
	}
	return s.step("wait until the operator is ready", func() error { return s.cluster.waitForDeployments(ctx, s.what, s.timeout) })
}

// try adds the token and the pod that mounts it, and shows its log until the token was renewed.
func (s *session) try(ctx context.Context, d delivery, digests map[string]string) error {
	if err := s.step(fmt.Sprintf("create a token and a pod that mounts it in namespace %q", trialNamespace), func() error {
		if err := writeJSON(filepath.Join(trialFolder, "kustomization.yaml"), d.kustomization(digests[emulatorImage])); err != nil {
			return err
		}
		if err := s.runKubectl(ctx, "apply", "-k", trialFolder); err != nil {
			return fmt.Errorf("apply config/try: %w\nTo remove the incomplete installation, run `%s`", err, s.what.down)
		}
		return nil
	}); err != nil {
		return err
	}
	s.printf("\nThe log of the pod, until the operator renewed its token:\n")
	return s.follow(ctx)
}

// next describes what the user can do now.
func (s *session) next() string {
	text := nextAfterDeploy
	if s.what.trial {
		text = nextAfterTry
	}
	return os.Expand(text, func(name string) string {
		if name == "NAMESPACE" {
			return s.what.namespace
		}
		return "$" + name
	})
}

const nextAfterDeploy = `
Next, create a Secret with your API key. This command reads the key from a file, so that it is not in the history of your shell:

  kubectl create secret generic reactor-api-key --from-file=api-key=PATH-TO-A-FILE-WITH-THE-KEY

Or run this command, paste the key and press Enter. The terminal does not show the key:

  read -rsp 'API key: ' KEY && printf %s "$KEY" | kubectl create secret generic reactor-api-key --from-file=api-key=/dev/stdin; unset KEY

Then request a token, and read its state:

  kubectl apply -f config/samples/reactortoken-minimal.yaml
  kubectl wait --for=condition=Ready reactortoken/web
  kubectl get reactortokens

To read the operator's log: kubectl --namespace ${NAMESPACE} logs deployment/reactor-operator
To remove everything: make undeploy
`

const nextAfterTry = `
This trial uses an emulator of Reactor in the cluster. Reactor does not accept its tokens. Commands to try:

  kubectl --namespace reactor-try get reactortoken web
  kubectl --namespace reactor-try describe reactortoken web
  kubectl --namespace reactor-try logs deployment/viewer --follow

To read the operator's log: kubectl --namespace ${NAMESPACE} logs deployment/reactor-try
To remove everything: make try-down
To use your own API key: make try-down, then make deploy
`
