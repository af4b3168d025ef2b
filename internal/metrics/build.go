package metrics

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// NewBuildCollector exports which build this is, as labels of a constant 1.
func NewBuildCollector(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "reactor_operator_build_info",
		Help:        "Which build of the operator this is, as labels of a constant 1.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision(), "go_version": runtime.Version()},
	}, func() float64 { return 1 })
}

// NewLeaderCollector exports whether this replica leads, which it does from when elected is closed until it ends. Where no leader
// is elected, the only replica leads.
func NewLeaderCollector(elected <-chan struct{}) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "reactor_operator_leader",
		Help: "1 in the replica that leads, 0 in the others.",
	}, func() float64 {
		select {
		case <-elected:
			return 1
		default:
			return 0
		}
	})
}

// revision is the commit that the binary was built from, or unknown where the build did not see a repository.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return "unknown"
}
