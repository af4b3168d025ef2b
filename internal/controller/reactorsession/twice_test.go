package reactorsession

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// schedules is how many seeds are played.
const schedules = 6

// TestASessionIsNeverStartedTwice plays seeded schedules of what can go wrong: crashes before and after each write, caches that lag,
// writes that are lost, pods and sessions that are deleted, some of them created anew under their names, and a Reactor that fails. The
// emulator's ledger is the judge: of one ReactorSession, never two Reactor sessions at once, and in the end none. And what is done is not
// done again: where restartPolicy is not Always, no attempt begins after one whose program exited 0 by itself.
func TestASessionIsNeverStartedTwice(t *testing.T) {
	for seed := range schedules {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(w *world) { newCourse(w, uint64(seed)).play() })
		})
	}
}

// course is one seeded schedule.
type course struct {
	*world
	mu      sync.Mutex // of what follows
	dice    *rand.Rand
	created map[string]int       // pods, by name
	asked   map[string]time.Time // when a pod was first deleted, by its name
	done    map[string]success   // programs that exited 0 by themselves, by the UID of their session
	seed    uint64
}

// players are the sessions, one of each restartPolicy.
const players = 3

func newCourse(w *world, seed uint64) *course {
	s := &course{world: w, dice: rand.New(rand.NewPCG(seed, 0)), created: map[string]int{}, asked: map[string]time.Time{}, done: map[string]success{}, seed: seed}
	w.reactor.SetQuotas(emulator.Quotas{})
	w.node.program = func(m *machine) { // each kind of program that reports its session
		s.begun(m)
		defer s.over(m)
		switch m.pod.Name[len(m.pod.Name)-1] % 3 {
		case 0:
			runs(7 * time.Minute)(m)
		case 1:
			leaves(5*time.Minute, 1)(m)
		default:
			leaves(9*time.Minute, 0)(m)
		}
	}
	w.api.MeddleWith(s.meddle)
	return s
}

// success is a program that exited 0 by itself.
type success struct {
	pod string
	at  time.Time
}

// begun refuses a program that is started although the one of an earlier attempt had done what its session was for.
func (s *course) begun(m *machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, done := s.done[m.pod.Labels[attempts.SessionUIDLabel]]
	if !done {
		return
	}
	// A node tells of an end a moment later: what was deleted until then was not known to have ended.
	if asked := s.asked[before.pod]; asked.IsZero() || asked.After(before.at.Add(2*tick)) {
		s.Errorf("seed %d: pod %s was started after pod %s had exited 0 by itself", s.seed, m.pod.Name, before.pod)
	}
}

// over takes note of a program that exits 0 by itself, of a session for which that is the end.
func (s *course) over(m *machine) {
	m.mu.Lock()
	byItself := m.exit == 0 && m.Err() == nil
	m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if byItself && !s.isEndless(m.pod.Annotations[attempts.SessionAnnotation]) {
		s.done[m.pod.Labels[attempts.SessionUIDLabel]] = success{pod: m.pod.Name, at: time.Now()}
	}
}

// askedToEnd takes note of the deletion of a pod.
func (s *course) askedToEnd(pod string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[pod].IsZero() {
		s.asked[pod] = time.Now()
	}
}

// policies are those of the players.
var policies = []v1alpha1.SessionRestartPolicy{v1alpha1.RestartAlways, v1alpha1.RestartOnFailure, v1alpha1.RestartNever}

// isEndless reports whether a session begins again also after success.
func (s *course) isEndless(name string) bool { return name == s.name(0) }

func (s *course) name(i int) string { return fmt.Sprintf("night-%d", i) }

func (s *course) add(i int) {
	s.create(newSession(s.name(i), ofModel("only/"+s.name(i)), policy(policies[i])))
}

// meddle loses writes and crashes the operator, sometimes, and takes note of the pods.
func (s *course) meddle(made call, do func() error) error {
	chance := 0.0
	if made.Writes() {
		chance = s.roll()
	}
	switch {
	case chance > 0.99:
		s.run.Crash()
		return errors.New("crashed before the write")
	case chance > 0.97:
		return errAway
	}
	if made.Verb == "delete" && made.Kind == "Pod" {
		s.askedToEnd(made.Name)
	}
	err := do()
	if err == nil && made.Verb == "create" && made.Kind == "Pod" {
		s.mu.Lock()
		s.created[made.Name]++
		s.mu.Unlock()
	}
	switch {
	case chance > 0.96:
		s.run.Crash()
		return errors.New("crashed after the write")
	case chance > 0.94 && err == nil:
		return errAway // the answer is lost
	}
	return err
}

func (s *course) roll() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dice.Float64()
}

// below throws a number from 0 to most-1.
func (s *course) below(most int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dice.IntN(most)
}

func (s *course) play() {
	for i := range players {
		s.add(i)
	}
	s.start()
	for range 20 {
		s.happen()
		if s.run.Crashed() {
			s.pass(time.Duration(s.below(90)) * time.Second)
			s.start()
		}
		s.pass(time.Duration(s.below(200)) * time.Second)
	}
	s.end()
}

// happen is one event.
func (s *course) happen() {
	i := s.below(players)
	switch s.below(9) {
	case 0:
		s.api.CacheLag = []time.Duration{20 * time.Millisecond, 2 * time.Second, 20 * time.Second}[s.below(3)]
	case 1:
		if pods := s.pods(); len(pods) > 0 {
			pod := &pods[s.below(len(pods))]
			s.askedToEnd(pod.Name)
			s.remove(pod)
		}
	case 2:
		if !s.gone(s.name(i)) {
			_ = s.api.Delete(s.Context(), s.session(s.name(i)))
		}
	case 3:
		if s.gone(s.name(i)) {
			s.add(i)
		}
	case 4:
		if !s.gone(s.name(i)) {
			s.edit(s.name(i), suspend(s.below(2) == 0))
		}
	case 5:
		s.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: 503, Times: 3})
	case 6:
		s.reactor.SetFaults(emulator.Fault{Route: "DELETE /sessions/{id}", Cut: true, Times: 2})
	case 7:
		s.reactor.SetFaults(emulator.Fault{Status: 500, Times: 3})
	case 8:
		s.run.Crash()
	}
}

// end ends all faults and all sessions, and judges.
func (s *course) end() {
	s.api.MeddleWith(nil)
	s.reactor.ClearFaults()
	s.api.CacheLag = 20 * time.Millisecond
	s.start()
	for i := range players {
		if !s.gone(s.name(i)) {
			s.edit(s.name(i), suspend(true))
		}
	}
	s.pass(5 * time.Minute)
	ledger := s.reactor.Ledger()
	for i := range players {
		if most := ledger.MostOpen("only/" + s.name(i)); most > 1 {
			s.Errorf("seed %d: %d Reactor sessions of %s were open at once", s.seed, most, s.name(i))
		}
		if !s.gone(s.name(i)) && !attempts.IsFinished(&s.session(s.name(i)).Status) {
			s.want(s.name(i), "Ready=False/Suspended")
		}
	}
	if open := ledger.Open(); len(open) > 0 {
		s.Errorf("seed %d: %d Reactor sessions are left open", s.seed, len(open))
	}
	for name, times := range s.created {
		if times > 1 {
			s.Errorf("seed %d: pod %s was created %d times", s.seed, name, times)
		}
	}
	if len(ledger.Sessions) < players {
		s.Errorf("seed %d: only %d sessions were started: the schedule shows nothing", s.seed, len(ledger.Sessions))
	}
	for _, pod := range s.pods() {
		if pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == "" {
			s.Errorf("seed %d: pod %s still runs", s.seed, pod.Name)
		}
	}
}

// TestAnOperatorThatOnlyKnowsThePastMakesNoPod gives a pass the caches of the moment before the pod of an attempt was created, when that pod
// has come and gone: its name is free again. So it is for a leader that was cut off, and for one whose watch hangs.
func TestAnOperatorThatOnlyKnowsThePastMakesNoPod(t *testing.T) {
	for name, since := range map[string]func(w *world){
		"the session was suspended": func(w *world) { w.edit("night", suspend(true)) },
		"the attempt has ended":     func(w *world) { w.remove(&w.pods()[0]) },
		"the session was deleted":   func(w *world) { w.remove(w.session("night")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var past client.Reader
				w.api.MeddleWith(func(made call, do func() error) error {
					if past == nil && made.Verb == "create" && made.Kind == "Pod" {
						past = w.copied()
					}
					return do()
				})
				w.create(newSession("night", policy(v1alpha1.RestartNever)))
				w.start()
				w.want("night", "Ready=True/Running")
				pod := w.pods()[0]
				since(w)
				w.pass(2 * time.Minute)
				w.stop()
				if err := w.api.Delete(t.Context(), &pod); client.IgnoreNotFound(err) != nil { // somebody clears up
					t.Fatal(err)
				}
				access := w.api.ClientFor(func() bool { return false })
				late := New(Options{Client: access, Cache: past, Lister: LiveLister(past), APIReader: access, Recorder: w, Clock: clock.RealClock{}})
				if _, err := late.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: "night"}}); client.IgnoreNotFound(err) != nil {
					t.Error(err)
				}
				if times := w.api.Asked(call{Verb: "create", Kind: "Pod", Name: pod.Name}); times != 1 {
					t.Errorf("pod %s was created %d times", pod.Name, times)
				}
			})
		})
	}
}

// copied is a server with all that this one holds now.
func (w *world) copied() client.Reader {
	w.Helper()
	var objects []client.Object
	for _, list := range []client.ObjectList{&v1alpha1.ReactorSessionList{}, &v1alpha1.ReactorTokenList{}, &corev1.PodList{}, &corev1.SecretList{}} {
		if err := w.api.List(w.Context(), list); err != nil {
			w.Fatal(err)
		}
		_ = meta.EachListItem(list, func(item runtime.Object) error { objects = append(objects, item.(client.Object)); return nil })
	}
	return newAPI(w.T, objects...)
}
