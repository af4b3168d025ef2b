package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The programs that envtest starts.
const (
	etcdName      = "etcd"
	apiServerName = "kube-apiserver"
)

// startServers starts etcd and kube-apiserver. It takes the parts of envtest.Environment, which would also write certificates for
// webhooks that we do not have, in a folder that a killed test leaves behind.
func (cp *ControlPlane) startServers(ctx context.Context, options Options) error {
	etcdLog, err := cp.openLog(etcdName)
	if err != nil {
		return err
	}
	serverLog, err := cp.openLog(apiServerName)
	if err != nil {
		return err
	}
	etcdDir, certDir := filepath.Join(cp.data(), etcdName), filepath.Join(cp.data(), apiServerName)
	if err := errors.Join(os.Mkdir(etcdDir, 0o700), os.Mkdir(certDir, 0o700)); err != nil {
		return err
	}
	etcd := &envtest.Etcd{Path: cp.binary(etcdName), DataDir: etcdDir, Out: etcdLog, Err: etcdLog, StartTimeout: startTimeout}
	server := &envtest.APIServer{Path: cp.binary(apiServerName), CertDir: certDir, Out: serverLog, Err: serverLog, StartTimeout: startTimeout}
	// envtest turns this admission off, for lack of a controller that makes the default service accounts. Here is one, and pods
	// get their service account as in any cluster.
	server.Configure().Disable("disable-admission-plugins")
	// Some distributions, OpenShift among them, turn this one on: a client that sets an owner reference needs permission for it.
	server.Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	if options.Address != "" {
		if err := listenForNodes(server, options.Address); err != nil {
			return err
		}
		if server.CA, err = writeCertificates(certDir, options.Address); err != nil {
			return err
		}
	}
	if options.AuditUser != "" {
		if err := cp.audit(server, options.AuditUser); err != nil {
			return err
		}
	}
	cp.servers = &envtest.ControlPlane{APIServer: server, Etcd: etcd, KubectlPath: cp.binary("kubectl")}
	if err := startTwice(cp.servers); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\n%s%s", err, lastLines(etcdLog.Name()), lastLines(serverLog.Name()))
	}
	return cp.connect(ctx)
}

// listenForNodes has the API server listen where nodes reach it, keep each node to what is its own, and reach nodes for logs.
func listenForNodes(server *envtest.APIServer, address string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return fmt.Errorf("find a port for kube-apiserver: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		return err
	}
	// envtest chooses both, unless it is given both.
	server.Address, server.Port = address, port
	server.Configure().
		Set("authorization-mode", "Node", "RBAC").
		Append("enable-admission-plugins", "NodeRestriction").
		Set("kubelet-preferred-address-types", "InternalIP")
	return nil
}

// AuditLogPath is the file of what Options.AuditUser requested: a line of JSON for each request that is done, and for each watch when it
// starts. It stays as long as the other logs.
func (cp *ControlPlane) AuditLogPath() string {
	return filepath.Join(cp.Dir, "audit.log")
}

// auditPolicy records the metadata of the requests of one user, and nothing of other users.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: [%q]}
- {level: None}
`

func (cp *ControlPlane) audit(server *envtest.APIServer, user string) error {
	policy := filepath.Join(cp.data(), "audit-policy.yaml")
	if err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, user), 0o600); err != nil {
		return err
	}
	server.Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", cp.AuditLogPath()).
		Set("audit-log-maxsize", "10000") // megabytes: it must not start another file
	return nil
}

// startTwice gives a start that fails a second chance: a connection of another program may have taken a port that was free when it
// was chosen.
func startTwice(servers *envtest.ControlPlane) error {
	if servers.Start() == nil {
		return nil
	}
	return servers.Start()
}

// connect makes the administrator's client and waits until the API server is ready, with the roles that the other programs need.
func (cp *ControlPlane) connect(ctx context.Context) error {
	administrator := envtest.User{Name: "admin", Groups: []string{"system:masters"}}
	user, err := cp.servers.AddUser(administrator, &rest.Config{QPS: 1000, Burst: 2000})
	if err != nil {
		return err
	}
	cp.Config = user.Config()
	if cp.client, err = kubernetes.NewForConfig(cp.Config); err != nil {
		return err
	}
	return await(ctx, "kube-apiserver to be ready", func(ctx context.Context) (bool, error) {
		return cp.ready(ctx) == nil, nil
	})
}

func (cp *ControlPlane) installCRDs(paths []string) error {
	_, err := envtest.InstallCRDs(cp.Config, envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true, MaxTime: startTimeout})
	return err
}
