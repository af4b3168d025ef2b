package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// operatorNamespace, operatorAccount and operatorLease are those of config/.
	operatorNamespace = "reactor-operator-system"
	operatorAccount   = "reactor-operator"

	// demoCeiling is the longest life that the demo's Reactor API grants at first: short, so that a renewal can be watched.
	demoCeiling = 20 * time.Second
)

// start starts what the operator needs.
func (d *demo) start(ctx context.Context) error {
	if err := d.stage.prepare(); err != nil {
		return err
	}
	began := time.Now()
	if err := d.stage.startPlane(ctx); err != nil {
		return err
	}
	programs := "etcd, kube-apiserver, kube-controller-manager"
	if d.settings.pods() {
		programs += ", kube-scheduler, and a node of kubelet and containerd"
	}
	d.say.good("Kubernetes after %s: %s", seconds(time.Since(began)), programs)
	if d.settings.real() {
		d.say.good("Reactor is the real one, at %s", d.settings.apiURL)
	} else {
		began = time.Now()
		if err := d.stage.startReactor(ctx); err != nil {
			return err
		}
		d.say.good("a local Reactor API after %s, at %s", seconds(time.Since(began)), d.stage.reactor.url)
	}
	if d.settings.pods() {
		if err := d.stage.packWorker(ctx); err != nil {
			return err
		}
		d.say.good("an image of examples/session-worker, a program that does what that of a session does")
	}
	d.say.blank()
	d.say.text("To type along in another terminal, in this folder:")
	d.stage.showExports()
	if d.settings.real() {
		return d.writeKey("key-1", d.settings.apiKey)
	}
	d.say.blank()
	d.say.text("Reactor gets to know an API key, and grants no token more than %s, so that a renewal is soon:", demoCeiling)
	if err := d.writeKey("key-1", newKey()); err != nil {
		return err
	}
	var err error
	if d.keys.first, err = d.introduceKey(ctx, "key-1"); err != nil {
		return err
	}
	_, err = d.tellReactor(ctx, http.MethodPut, "/_emulator/lifetimes", `{"default":"20s","ceiling":"20s"}`)
	return err
}

// newKey makes up an API key.
func newKey() string { return "rk_demo_" + strings.ToLower(rand.Text()) }

// introduceKey makes an API key known to the local Reactor API, and returns its fingerprint.
func (d *demo) introduceKey(ctx context.Context, file string) (string, error) {
	answer, err := d.tellReactor(ctx, http.MethodPost, "/_emulator/keys", "@"+file+".json")
	if err != nil {
		return "", err
	}
	var said struct{ Fingerprint string }
	if err := json.Unmarshal([]byte(answer), &said); err != nil || said.Fingerprint == "" {
		return "", errors.Join(errors.New("the local Reactor API does not tell the key's fingerprint"), err)
	}
	return said.Fingerprint, nil
}

// startOperator installs the kinds and the rights, and starts the operator under its own service account.
func (d *demo) startOperator(ctx context.Context) error {
	for _, command := range []string{
		"kubectl apply -f config/manager/namespace.yaml",
		"kubectl apply -k config/crd",
		"kubectl apply -k config/rbac",
		"kubectl wait --for=condition=Established crd/reactortokens.reactor.inc",
	} {
		if err := d.mustRun(ctx, command); err != nil {
			return err
		}
	}
	account, err := d.becomeOperator(ctx)
	if err != nil {
		return err
	}
	d.say.blank()
	d.say.text("In a cluster the operator runs in a pod. Here it is a process, with a token of the same service account:")
	d.run(ctx, "kubectl --kubeconfig $DEMO/operator.kubeconfig auth whoami \\\n-o jsonpath='{.status.userInfo.username}'")
	d.run(ctx, "kubectl --kubeconfig $DEMO/operator.kubeconfig auth can-i patch secrets -A")
	d.run(ctx, "kubectl --kubeconfig $DEMO/operator.kubeconfig auth can-i create pods -A")
	if err := d.launchOperator(ctx); err != nil {
		return err
	}
	d.recordRights(ctx, account)
	d.recordLease(ctx)
	return nil
}

// becomeOperator writes the operator's kubeconfig, and waits until its rights are in force.
func (d *demo) becomeOperator(ctx context.Context) (*kubernetes.Clientset, error) {
	config, err := d.stage.plane.ServiceAccountConfig(ctx, operatorNamespace, operatorAccount)
	if err != nil {
		return nil, err
	}
	d.say.veil.hide(config.BearerToken)
	if err := controlplane.WriteKubeconfig(d.stage.file("operator.kubeconfig"), config); err != nil {
		return nil, err
	}
	account, err := kubernetes.NewForConfig(rest.CopyConfig(config))
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, lookEvery, startTimeout, true, func(ctx context.Context) (bool, error) {
		return may(ctx, account, authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets"})
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the rights of config/rbac to be in force: %w", err)
	}
	return account, nil
}

// may asks the API server whether an account may do something, in all namespaces.
func may(ctx context.Context, account *kubernetes.Clientset, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	answer, err := account.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// launchOperator starts the process, unless the demo is to fail.
func (d *demo) launchOperator(ctx context.Context) error {
	metrics, err := process.FreeAddress()
	if err != nil {
		return err
	}
	probes, err := process.FreeAddress()
	if err != nil {
		return err
	}
	d.stage.metrics = metrics
	api := d.settings.apiURL
	if !d.settings.real() {
		api = d.stage.reactor.url
	}
	args := []string{
		"--api-url=" + api, "--log-format=text",
		"--leader-elect", "--leader-election-namespace=" + operatorNamespace,
		"--metrics-bind-address=" + metrics, "--metrics-auth=false",
		"--health-probe-bind-address=" + probes,
	}
	lines := []string{"KUBECONFIG=$DEMO/operator.kubeconfig " + managerBinary}
	for pair := range slices.Chunk(args, 2) {
		lines = append(lines, strings.Join(pair, " "))
	}
	if d.settings.broken {
		d.say.bad("not started: DEMO_BROKEN is set")
		return nil
	}
	d.say.command(strings.Join(lines, " \\\n"))
	began := time.Now()
	if err := d.stage.startOperator(ctx, args); err != nil {
		return err
	}
	d.say.good("ready after %s", seconds(time.Since(began)))
	return nil
}

// recordRights asks the API server who the operator is, and whether it may do more than it should.
func (d *demo) recordRights(ctx context.Context, account *kubernetes.Clientset) {
	const wanted = "system:serviceaccount:" + operatorNamespace + ":" + operatorAccount
	answer, err := account.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		d.record("the operator's rights", "its own service account", err.Error(), false)
		return
	}
	user := answer.Status.UserInfo.Username
	everything, err := may(ctx, account, authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"})
	seen := user + ", who may not do everything"
	switch {
	case err != nil:
		seen = err.Error()
	case everything:
		seen = user + ", who may do everything"
	case user == wanted:
		seen = operatorAccount + ", no admin"
	}
	d.record("the operator's rights", "its own account, no admin", seen, err == nil && !everything && user == wanted)
}

// recordLease looks who leads: the API server knows only by a lease that somebody works.
func (d *demo) recordLease(ctx context.Context) {
	leases := &coordinationv1.LeaseList{}
	held := false
	d.awaitThat(ctx, patience, func(ctx context.Context) bool {
		if d.stage.kube.List(ctx, leases, client.InNamespace(operatorNamespace)) != nil || len(leases.Items) == 0 {
			return false
		}
		lease := leases.Items[0].Spec
		held = lease.HolderIdentity != nil && *lease.HolderIdentity != "" && lease.RenewTime != nil &&
			time.Since(lease.RenewTime.Time) < patience
		return held
	})
	seen := "no lease"
	switch {
	case held:
		seen = "held since " + clockTime(leases.Items[0].Spec.AcquireTime.Time)
	case len(leases.Items) > 0:
		seen = "not held"
	}
	d.record("the operator at work", "its lease is held", seen, held)
}
