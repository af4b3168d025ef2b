package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// tokenLifetime outlasts every test and benchmark, so that no test has to renew.
const tokenLifetime = 24 * time.Hour

// KubeconfigPath is the file of the administrator's kubeconfig; it exists until Stop.
func (cp *ControlPlane) KubeconfigPath() string {
	return filepath.Join(cp.data(), "admin.kubeconfig")
}

// WriteKubeconfig writes the administrator's kubeconfig to another file too.
func (cp *ControlPlane) WriteKubeconfig(path string) error {
	return WriteKubeconfig(path, cp.Config)
}

// ServiceAccountConfig lets a client be a service account, which must exist, by a token as a pod of it would have: so an
// operator runs with its real permissions.
func (cp *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	seconds := int64(tokenLifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := cp.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of service account %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(cp.Config)
	config.BearerToken = answer.Status.Token
	return config, nil
}

// UserConfig lets a client be a user of these groups, by a certificate: so a kubelet is the user of its node.
func (cp *ControlPlane) UserConfig(name string, groups ...string) (*rest.Config, error) {
	user, err := cp.servers.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{})
	if err != nil {
		return nil, fmt.Errorf("certificate of user %s: %w", name, err)
	}
	return user.Config(), nil
}

// Scheme has the types of Kubernetes and of the operator.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// NewClient returns a client for the types of Scheme.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// KubeconfigFor writes a client's configuration as a kubeconfig, for a program of its own.
func KubeconfigFor(config *rest.Config) ([]byte, error) {
	const name = "controlplane"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{
		Token:                 config.BearerToken,
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
	}
	kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kubeconfig.CurrentContext = name
	return clientcmd.Write(*kubeconfig)
}

// WriteKubeconfig writes a client's configuration as a kubeconfig into a file that only its owner may read.
func WriteKubeconfig(path string, config *rest.Config) error {
	content, err := KubeconfigFor(config)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// Kubectl runs kubectl as the administrator and returns its standard output. What it says of a failure is in the error.
func (cp *ControlPlane) Kubectl(ctx context.Context, args ...string) (string, error) {
	// The cache of what the server offers would otherwise stay in the user's home, one for each port.
	flags := []string{"--kubeconfig=" + cp.KubeconfigPath(), "--cache-dir=" + filepath.Join(cp.data(), "kubectl")}
	cmd := exec.CommandContext(ctx, cp.binary("kubectl"), append(flags, args...)...)
	var output, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &complaints
	if err := cmd.Run(); err != nil {
		return output.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return output.String(), nil
}
