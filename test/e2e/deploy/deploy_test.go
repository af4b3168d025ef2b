// Package deploy tests make deploy, make undeploy, make try and make try-down on a node of this machine, which has nothing of the operator
// before. make e2e runs it; without that it is skipped.
package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
)

const (
	repository = "../../.."
	// patience ends a test that waits in vain. It measures nothing.
	patience = 3 * time.Minute
	glance   = 200 * time.Millisecond
)

// world is a node, and a shell of a user who works in a clone of the repository.
type world struct {
	t    *testing.T
	node *node.Node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv("E2E") == "" {
		t.Skip("make e2e runs this")
	}
	log.SetLogger(logr.Discard())
	n, err := node.Start(t.Context(), node.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, node: n}
}

// make runs a target as a user does, and returns what it prints.
func (w *world) make(args ...string) (output string, err error) {
	w.t.Helper()
	started := time.Now()
	command := exec.CommandContext(w.t.Context(), "make", append(args, "KUBECTL="+filepath.Join(w.node.ControlPlane.BinDir, "kubectl"))...)
	command.Dir = repository
	// What make e2e was called with is not meant for this make. Helm's caches would stay in the user's home.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "ARGS", "VERSION"}, name)
	})
	helm := w.t.TempDir()
	command.Env = append(command.Env, "KUBECONFIG="+w.node.ControlPlane.KubeconfigPath(), "HELM_CACHE_HOME="+helm, "HELM_CONFIG_HOME="+helm, "HELM_DATA_HOME="+helm)
	text, err := command.CombinedOutput()
	w.t.Logf("make %s: %s\n%s", strings.Join(args, " "), time.Since(started).Round(100*time.Millisecond), text)
	return string(text), err
}

func (w *world) mustMake(args ...string) string {
	w.t.Helper()
	output, err := w.make(args...)
	if err != nil {
		pods, _ := w.node.ControlPlane.Kubectl(context.Background(), "describe", "pods", "--all-namespaces")
		w.t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, pods)
	}
	return output
}

func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	output, err := w.node.ControlPlane.Kubectl(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return output
}

func (w *world) apply(manifest string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.kubectl("apply", "--filename="+file)
}

// inventory is every object of the cluster, but for events, as RESOURCE NAMESPACE/NAME.
func (w *world) inventory() []string {
	w.t.Helper()
	config := w.node.ControlPlane.Config
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	lists, err := served.ServerPreferredResources()
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range list.APIResources {
			resource := group.WithResource(list.APIResources[i].Name)
			if resource.Resource == "events" || !slices.Contains(list.APIResources[i].Verbs, "list") || resource.Resource == "componentstatuses" {
				continue
			}
			found, err := objects.Resource(resource).List(w.t.Context(), metav1.ListOptions{})
			if err != nil {
				w.t.Fatalf("list all %s: %v", resource, err)
			}
			for k := range found.Items {
				all = append(all, resource.GroupResource().String()+" "+found.Items[k].Namespace+"/"+found.Items[k].Name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// eventually waits until a check has no objection.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	var objection error
	if err := wait.PollUntilContextTimeout(w.t.Context(), glance, patience, true, func(context.Context) (bool, error) {
		objection = check()
		return objection == nil, nil
	}); err != nil {
		w.t.Fatalf("waited in vain for this: %s\nat last: %v", what, objection)
	}
}

// settledInventory is the inventory of a cluster whose controllers have made what they make at their start.
func (w *world) settledInventory() []string {
	w.t.Helper()
	var last []string
	w.eventually("an inventory that does not change", func() error {
		current := w.inventory()
		defer func() { last = current }()
		for _, late := range []string{"configmaps default/kube-root-ca.crt", "leases.coordination.k8s.io kube-node-lease/" + node.Name} {
			if !slices.Contains(current, late) {
				return fmt.Errorf("%s does not exist yet", late)
			}
		}
		if diff := cmp.Diff(last, current); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	return last
}

// wantInventory waits until the cluster has the objects that it had before: the garbage collector takes a moment.
func (w *world) wantInventory(before []string) {
	w.t.Helper()
	w.eventually("the inventory of before (-before +now)", func() error {
		if diff := cmp.Diff(before, w.inventory()); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	w.t.Logf("the cluster has the same %d objects as before", len(before))
}

// session is a ReactorSession with a program that runs until it is stopped.
func session(namespace string) string {
	return `
apiVersion: reactor.inc/v1alpha1
kind: ReactorSession
metadata: {namespace: ` + namespace + `, name: night}
spec:
  model: reactor/helios
  apiKeySecretRef: {name: reactor-api-key}
  template:
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 65532}
      containers:
      - name: program
        image: localhost/pause:test
        securityContext: {capabilities: {drop: [ALL]}, allowPrivilegeEscalation: false}
`
}

func wantOutput(t *testing.T, output string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(output, text) {
			t.Errorf("the output does not have %q:\n%s", text, output)
		}
	}
}

// startReactor serves an emulator on this machine, where pods reach it, and returns its URL and a key.
func startReactor(t *testing.T) (url, key string) {
	t.Helper()
	key = "rk_" + strings.ToLower(rand.Text()+rand.Text())
	listener, err := net.Listen("tcp", net.JoinHostPort(node.HostAddress, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: emulator.New(emulator.Options{Keys: []string{key}}), ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }() // it ends when it is closed
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), key
}

func TestWhatMakeDeployAndMakeTryInstallWorksAndIsRemovedWithoutRemains(t *testing.T) {
	w := newWorld(t)
	before := w.settledInventory()

	url, key := startReactor(t)
	wantOutput(t, w.mustMake("deploy", "HELM_ARGS=--set reactor.apiURL="+url),
		"node of `make node`", "wait until the operator is ready", "kubectl create secret generic reactor-api-key", "make undeploy")
	w.kubectl("create", "namespace", "work")
	w.kubectl("--namespace=work", "create", "secret", "generic", "reactor-api-key", "--from-literal=api-key="+key)
	w.kubectl("--namespace=work", "apply", "--filename="+filepath.Join(repository, "config", "samples", "reactortoken-minimal.yaml"))
	w.apply(session("work"))
	w.kubectl("--namespace=work", "wait", "--for=condition=Ready", "--timeout=1m", "reactortoken/web", "reactorsession/night")
	wantOutput(t, w.mustMake("deploy", "HELM_ARGS=--set reactor.apiURL="+url), "wait until the operator is ready") // an upgrade

	wantOutput(t, w.mustMake("undeploy"), "ReactorToken work/web and its Secret", "ReactorSession work/night", "the namespace reactor-operator-system")
	if left := w.kubectl("--namespace=work", "get", "pods,secrets", "--output=name"); strings.TrimSpace(left) != "secret/reactor-api-key" {
		t.Errorf("of the token and the session, this is left: %q", left)
	}
	w.kubectl("delete", "namespace", "work")
	w.wantInventory(before)

	output := w.mustMake("try")
	wantOutput(t, output, "until the operator renewed its token", "make try-down")
	tokens := regexp.MustCompile(`token "(\w+)" expires`).FindAllStringSubmatch(output, -1)
	if len(tokens) < 2 || tokens[0][1] == tokens[len(tokens)-1][1] {
		t.Errorf("no renewed token is shown: %q", tokens)
	}
	if strings.Contains(output, "eyJ") {
		t.Error("the output holds a token")
	}
	if output, err := w.make("deploy"); err == nil || !strings.Contains(output, "Run `make try-down` first") {
		t.Errorf("make deploy next to a trial: %v", err)
	}
	w.apply(session("reactor-try"))
	w.kubectl("--namespace=reactor-try", "wait", "--for=condition=Ready", "--timeout=1m", "reactorsession/night")
	wantOutput(t, w.mustMake("try-down"), "ReactorToken reactor-try/web and its Secret", "ReactorSession reactor-try/night")
	w.wantInventory(before)
	wantOutput(t, w.mustMake("try-down"), "The cluster has no installation of `make try`")
}
