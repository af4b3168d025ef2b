package reactorsession

import (
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

func TestASessionThatJustCompletes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(time.Minute))
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running", "TokenReady=True/TokenValid", "Suspended=False/NotSuspended")
		w.wantOpen(1)
		w.pass(2 * time.Minute)
		w.want("night", "Ready=True/Completed", "Complete=True/Completed", "TokenReady=", "Stalled=")
		w.wantOpen(0)
		if got, want := w.ended("night"), "1 Succeeded Completed AlreadyOver"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if got := w.session("night").Status; got.Attempts != 1 || got.CurrentAttempt != nil || got.RunningSeconds < 60 || got.RunningSeconds > 60+int64(tick/time.Second) {
			t.Errorf("status %+v", got)
		}
		if pods := w.pods(); len(pods) != 1 || attempts.HasFinalizer(&pods[0], attempts.TrackingFinalizer) {
			t.Errorf("the pod is not there with its logs, or still kept: %d", len(pods))
		}
		for reason, want := range map[string]int{v1alpha1.ReasonRunning: 1, v1alpha1.ReasonCompleted: 1, v1alpha1.ReasonAttemptEnded: 0} {
			if got := w.count("night", reason); got != want {
				t.Errorf("%d events with the reason %s, want %d", got, reason, want)
			}
		}
	})
}

func TestSuspendAndResume(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running")
		w.pass(time.Minute)
		w.edit("night", suspend(true))
		w.settle()
		w.want("night", "Ready=False/Suspended", "Suspended=True/Suspended")
		w.wantOpen(0)
		w.pass(time.Hour)
		w.edit("night", suspend(false))
		w.settle()
		w.want("night", "Ready=True/Running")
		w.wantOpen(1)
		if got, want := w.ended("night"), "1 Stopped Suspended AlreadyOver"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
	})
}

func TestWhatAFailureIsFollowedBy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Second, 3))
		w.create(newSession("night", policy(v1alpha1.RestartOnFailure)))
		w.start()
		w.pass(time.Hour)
		w.want("night", "Ready=False/BackoffLimitExceeded", "Failed=True/BackoffLimitExceeded", "Stalled=True/BackoffLimitExceeded")
		if got, want := w.ended("night"), "4 Failed ExitCode Ended, 3 Failed ExitCode Ended, 2 Failed ExitCode Ended, 1 Failed ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}
