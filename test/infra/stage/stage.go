// Package stage is what measurements of the operator share: a real control plane with the permissions of config/, the emulator, and the
// operator as a process under its own service account. There is no node; a measurement that needs running pods plays the kubelet.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// OperatorNamespace is the one of config/.
	OperatorNamespace = "reactor-operator-system"
	// OperatorAccount is the service account of config/.
	OperatorAccount = "reactor-operator"
	// OperatorUser is the service account's name as a user.
	OperatorUser = "system:serviceaccount:" + OperatorNamespace + ":" + OperatorAccount

	// Namespace is of all that is made.
	Namespace = "default"
	// KeySecret holds the API key, under api-key.
	KeySecret = "reactor"
	// APIKey is known to the emulator alone.
	APIKey = "rk_measure"
)

// Options say what to start.
type Options struct {
	// Log gets a line for each step of the start. Nil: there is no log.
	Log io.Writer
	// Audit makes the control plane record the operator's requests.
	Audit bool
	// Apply are more arguments of kubectl apply, such as {"-k", "config/components/prompt-delivery"}.
	Apply [][]string
	// PprofServed lets operators that are started serve profiles.
	PprofServed bool
}

// Stage is a control plane and an emulator that run.
type Stage struct {
	// Plane is the control plane.
	Plane *controlplane.ControlPlane
	// Kube is the administrator's client, without a limit of its own.
	Kube client.WithWatch
	// Account is the configuration of the operator's service account.
	Account *rest.Config
	// Reactor is the URL of the emulator.
	Reactor string

	kubeconfig string // the operator's
	emulator   *process.Process
	pprof      bool
}

// Start starts all of it but the operator. It is called in the root of the repository, after make build.
func Start(ctx context.Context, options Options) (*Stage, error) {
	plane := controlplane.Options{CRDPaths: []string{"config/crd/bases"}, Log: options.Log}
	if options.Audit {
		plane.AuditUser = OperatorUser
	}
	s := &Stage{pprof: options.PprofServed}
	var err error
	if s.Plane, err = controlplane.Start(ctx, plane); err != nil {
		return nil, err
	}
	if err := errors.Join(s.prepare(ctx, options.Apply), s.startEmulator(ctx)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends it. Stop operators before.
func (s *Stage) Stop() error {
	if s.emulator != nil {
		s.emulator.Stop()
	}
	return s.Plane.Stop()
}

// prepare gives the operator its permissions, and the API key that it uses.
func (s *Stage) prepare(ctx context.Context, more [][]string) error {
	administrator := rest.CopyConfig(s.Plane.Config)
	administrator.QPS = -1
	var err error
	if s.Kube, err = controlplane.NewClient(administrator); err != nil {
		return err
	}
	for _, what := range append([][]string{{"-f", "config/manager/namespace.yaml"}, {"-k", "config/rbac"}}, more...) {
		if _, err := s.Plane.Kubectl(ctx, append([]string{"apply"}, what...)...); err != nil {
			return err
		}
	}
	if s.Account, err = s.Plane.ServiceAccountConfig(ctx, OperatorNamespace, OperatorAccount); err != nil {
		return err
	}
	s.kubeconfig = filepath.Join(s.Plane.Dir, "operator.kubeconfig")
	if err := controlplane.WriteKubeconfig(s.kubeconfig, s.Account); err != nil {
		return err
	}
	return s.Kube.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: KeySecret},
		Data:       map[string][]byte{"api-key": []byte(APIKey)},
	})
}

func (s *Stage) startEmulator(ctx context.Context) error {
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.Reactor = "http://" + address
	s.emulator, err = process.Start("the emulator", filepath.Join(s.Plane.Dir, "emulator.log"), nil,
		"bin/reactor-emulator", "--listen="+address, "--key="+APIKey, "--log-level=WARN", "--concurrent-sessions=0", "--session-starts-per-minute=0")
	if err != nil {
		return fmt.Errorf("%w; make build builds it", err)
	}
	return await(ctx, s.emulator, s.Reactor+"/_emulator/healthz")
}
