package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

var (
	sessionsDesc = prometheus.NewDesc("reactor_sessions",
		"How many ReactorSessions there are, by status and reason of their condition Ready.", []string{"ready", "reason"}, nil)
	stalledDesc = prometheus.NewDesc("reactor_session_stalled",
		"1 while a user must act before the session continues. There is no series otherwise.", append(objectLabels[:2:2], "reason"), nil)
)

// NewSessionCollector returns a collector that reads the ReactorSessions from reader, a cache, at each scrape once elected is
// closed. Without perObject it exports totals only.
func NewSessionCollector(reader client.Reader, elected <-chan struct{}, perObject bool) prometheus.Collector {
	return &collector[*v1alpha1.ReactorSessionList]{
		reader: reader, elected: elected, kind: "ReactorSessions",
		descs:   []*prometheus.Desc{sessionsDesc, stalledDesc},
		newList: func() *v1alpha1.ReactorSessionList { return &v1alpha1.ReactorSessionList{} },
		export: func(metrics chan<- prometheus.Metric, list *v1alpha1.ReactorSessionList) {
			counts := readyCounts{}
			for i := range list.Items {
				counts.add(list.Items[i].Status.Conditions)
				if perObject {
					exportStalled(metrics, &list.Items[i])
				}
			}
			counts.export(metrics, sessionsDesc)
		},
	}
}

// exportStalled names a session that a user must act on. There are few of those, so that the others need no series.
func exportStalled(metrics chan<- prometheus.Metric, session *v1alpha1.ReactorSession) {
	if stalled := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil &&
		meta.IsStatusConditionTrue(session.Status.Conditions, v1alpha1.ConditionStalled) {
		metrics <- gauge(stalledDesc, 1, session.Namespace, session.Name, stalled.Reason)
	}
}

// Attempts counts the attempts of sessions that ended while this process was the leader. The counters are needed because status has only the
// last five attempts of a session, and is deleted with the session.
type Attempts struct {
	ended    *prometheus.CounterVec
	running  *prometheus.CounterVec
	cleanups *prometheus.CounterVec
}

// NewAttempts returns counters that start at 0, and registers them.
func NewAttempts(registry prometheus.Registerer) (*Attempts, error) {
	attempts := &Attempts{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reactor_session_attempts_total",
			Help: "Attempts of sessions that have ended, by their class: whose matter the end was.",
		}, []string{"outcome"}),
		running: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reactor_session_running_seconds_total",
			Help: "How long the containers of ended attempts ran, by the attempts' class.",
		}, []string{"outcome"}),
		cleanups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reactor_session_cleanups_total",
			Help: "Results of the cleanup of the Reactor sessions of ended attempts: NotNeeded; AlreadyOver; Ended, by the operator; " +
				"or Unverified, then one may be open and billed.",
		}, []string{"result"}),
	}
	// Without a first 0, rate() would not see the first one of a class.
	for _, class := range attemptClasses {
		attempts.ended.WithLabelValues(string(class))
		attempts.running.WithLabelValues(string(class))
	}
	for _, result := range cleanupResults {
		attempts.cleanups.WithLabelValues(string(result))
	}
	return attempts, registerAll(registry, attempts.ended, attempts.running, attempts.cleanups)
}

var (
	attemptClasses = []v1alpha1.AttemptClass{
		v1alpha1.ClassSucceeded, v1alpha1.ClassStopped, v1alpha1.ClassFailed, v1alpha1.ClassIgnored, v1alpha1.ClassKeyRefused,
	}
	cleanupResults = []v1alpha1.CleanupResult{
		v1alpha1.CleanupNotNeeded, v1alpha1.CleanupAlreadyOver, v1alpha1.CleanupEnded, v1alpha1.CleanupUnverified,
	}
)

// AttemptEnded counts an attempt.
func (a *Attempts) AttemptEnded(class v1alpha1.AttemptClass, running time.Duration) {
	a.ended.WithLabelValues(string(class)).Inc()
	a.running.WithLabelValues(string(class)).Add(running.Seconds())
}

// CleanedUp counts the result of the cleanup of the Reactor session of an attempt.
func (a *Attempts) CleanedUp(result v1alpha1.CleanupResult) {
	a.cleanups.WithLabelValues(string(result)).Inc()
}
