package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startControllerManager must come after the API server is ready: before, the roles that it needs do not exist.
func (cp *ControlPlane) startControllerManager(ctx context.Context, controllers []string) error {
	if len(controllers) > 0 {
		controllers = append([]string{"serviceaccount-controller", "serviceaccount-token-controller"}, controllers...)
	} else {
		controllers = []string{"*"}
	}
	certificates := cp.servers.APIServer.CertDir
	authority := filepath.Join(cp.data(), "ca.crt")
	if err := os.WriteFile(authority, cp.Config.CAData, 0o600); err != nil {
		return err
	}
	manager, err := cp.startComponent("kube-controller-manager",
		"--use-service-account-credentials",
		"--service-account-private-key-file="+filepath.Join(certificates, "sa-signer.key"),
		"--root-ca-file="+authority,
		"--controllers="+strings.Join(controllers, ","),
		// By default it makes a folder below /usr/libexec.
		"--flex-volume-plugin-dir="+filepath.Join(cp.data(), "volume-plugins"),
		"--kube-api-qps=1000", "--kube-api-burst=2000")
	if err != nil {
		return err
	}
	// The default service account is the first thing that tests need of it, and the evidence that its controllers work.
	return await(ctx, "kube-controller-manager to make service accounts", func(ctx context.Context) (bool, error) {
		_, err := cp.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) && manager.failure() == nil {
			return false, nil
		}
		return err == nil, err
	})
}

func (cp *ControlPlane) startScheduler() error {
	_, err := cp.startComponent("kube-scheduler", "--kube-api-qps=1000", "--kube-api-burst=2000")
	return err
}

// startComponent starts a program as the user system:<name>, which has the permissions that it needs in Kubernetes. It serves nothing,
// since no client calls it.
func (cp *ControlPlane) startComponent(name string, flags ...string) (*process, error) {
	user, err := cp.servers.AddUser(envtest.User{Name: "system:" + name}, &rest.Config{})
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(cp.data(), name+".kubeconfig")
	if err := WriteKubeconfig(kubeconfig, user.Config()); err != nil {
		return nil, err
	}
	log, err := cp.openLog(name)
	if err != nil {
		return nil, err
	}
	flags = append(flags,
		"--kubeconfig="+kubeconfig,
		"--cert-dir="+filepath.Join(cp.data(), name),
		"--leader-elect=false",
		"--secure-port=0")
	p, err := startProcess(cp.binary(name), log, flags...)
	if err != nil {
		return nil, err
	}
	cp.add(p)
	return p, nil
}
