package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/procfs"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// Operator is a running operator.
type Operator struct {
	*process.Process

	// Metrics and Probes are the URLs of what it serves; Profiles is that of /debug/pprof, empty when it serves none.
	Metrics, Probes, Profiles string
}

// Flags are the flags of an operator of this stage, in addition to its own. All of its other settings are the defaults, as in production.
func (s *Stage) Flags() []string {
	return []string{"--api-url=" + s.Reactor, "--leader-election-namespace=" + OperatorNamespace, "--metrics-auth=false"}
}

// StartOperator starts one and returns immediately.
func (s *Stage) StartOperator(flags ...string) (*Operator, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = process.FreeAddress(); err != nil {
			return nil, err
		}
	}
	o := &Operator{Metrics: "https://" + addresses[0] + "/metrics", Probes: "http://" + addresses[1]}
	args := append(s.Flags(), "--metrics-bind-address="+addresses[0], "--health-probe-bind-address="+addresses[1])
	if s.pprof {
		args = append(args, "--pprof-bind-address="+addresses[2])
		o.Profiles = "http://" + addresses[2] + "/debug/pprof"
	}
	log, err := os.CreateTemp(s.Plane.Dir, "operator-*.log")
	if err != nil {
		return nil, err
	}
	if err := log.Close(); err != nil {
		return nil, err
	}
	o.Process, err = process.Start("the operator", filepath.Join(s.Plane.Dir, filepath.Base(log.Name())),
		append(os.Environ(), "KUBECONFIG="+s.kubeconfig), "bin/manager", append(args, flags...)...)
	if err != nil {
		return nil, fmt.Errorf("%w; make build builds it", err)
	}
	return o, nil
}

// AwaitReady waits until the operator has filled its caches and serves its metrics.
func (o *Operator) AwaitReady(ctx context.Context) error {
	return errors.Join(await(ctx, o.Process, o.Probes+"/readyz"), await(ctx, o.Process, o.Metrics))
}

// Explain adds the end of the operator's log to an error, and that it has ended if it has.
func (o *Operator) Explain(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%w\n%s", err, o.Tail(5)), o.Failure())
}

// Usage is what a process has taken since it started, but for the peak: that is since ForgetPeak.
type Usage struct {
	Resident, Peak uint64  // bytes
	CPU            float64 // seconds
}

// Usage asks Linux.
func (o *Operator) Usage() (Usage, error) {
	if err := o.Failure(); err != nil {
		return Usage{}, err
	}
	return UsageOf(o.PID())
}

// UsageOf asks Linux about a process.
func UsageOf(pid int) (Usage, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, err
	}
	status, statusErr := proc.NewStatus()
	stat, statErr := proc.Stat()
	return Usage{status.VmRSS, status.VmHWM, stat.CPUTime()}, errors.Join(statusErr, statErr)
}

// ForgetPeak resets the peak of the memory.
func (o *Operator) ForgetPeak() error {
	const resetPeak = "5" // see proc_pid_clear_refs(5)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", o.PID()), []byte(resetPeak), 0); err != nil {
		return fmt.Errorf("forget the peak of the operator's memory: %w", err)
	}
	return nil
}
