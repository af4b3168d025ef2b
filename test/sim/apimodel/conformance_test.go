package apimodel

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
)

// How much the conformance test plays. Each seed plays operations of its own; -seeds=100 finds what is rarer.
var (
	conformanceSeeds      = flag.Uint64("seeds", 4, "how many seeds the conformance test plays")
	conformanceFirst      = flag.Uint64("first-seed", 0, "the first of them")
	conformanceOperations = flag.Int("operations", 400, "how many operations each seed plays")
)

// TestTheModelDoesWhatTheRealAPIServerDoes plays the same random operations against both, and compares the answers, the errors and the
// events of watches. Like the tests of test/integration it needs the binaries of a control plane.
func TestTheModelDoesWhatTheRealAPIServerDoes(t *testing.T) {
	plane, err := controlplane.Start(t.Context(), controlplane.Options{
		CRDPaths: []string{"../../../config/crd/bases"},
		// No others: they would write into the objects that are compared.
		Controllers: []string{"garbage-collector-controller"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := newScheme()
	actual, err := client.NewWithWatch(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for seed := *conformanceFirst; seed < *conformanceFirst+*conformanceSeeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			compareBoth(t, actual, seed)
		})
	}
}

// compareBoth plays the operations of a seed, up to the first difference.
func compareBoth(t *testing.T, actual client.WithWatch, seed uint64) {
	t.Helper()
	namespace := fmt.Sprintf("seed-%d", seed)
	makeNamespace(t, actual, namespace)
	server := New(Options{})
	sides := []*side{newSide(t, "the model", server.Client("test"), namespace), newSide(t, "the real one", actual, namespace)}
	dice := rand.New(rand.NewPCG(seed, 7))
	var played []string
	for number := range *conformanceOperations {
		op := draw(dice)
		played = append(played, fmt.Sprintf("%4d %s", number, op.text))
		if difference := playOnce(t, server, sides, op); difference != "" {
			t.Fatalf("seed %d: the model (-) and the real API server (+) differ:\n%s\n\noperations up to there:\n%s", seed, difference, strings.Join(played, "\n"))
		}
	}
	t.Logf("of %d operations: %v", len(played), sides[1].outcomes)
	if sides[1].outcomes["done"] < len(played)/3 {
		t.Errorf("only %d of %d operations did anything: the others say little", sides[1].outcomes["done"], len(played))
	}
	for _, kind := range testKinds {
		if difference := playOnce(t, server, sides, listOperation(kind, 0)); difference != "" {
			t.Fatalf("seed %d: at the end, the model (-) and the real API server (+) differ:\n%s", seed, difference)
		}
	}
}

func makeNamespace(t *testing.T, actual client.Client, name string) {
	t.Helper()
	if err := actual.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{} // without it, no pod is admitted
	await(t, "the default service account", func() bool {
		return actual.Get(t.Context(), client.ObjectKey{Namespace: name, Name: "default"}, account) == nil
	})
}

// await waits for the real server, which works at its own pace.
func await(t *testing.T, what string, done func() bool) bool {
	t.Helper()
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			t.Logf("waited %s for %s", patience, what)
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
	return true
}

// playOnce plays an operation on both sides, and returns the difference.
func playOnce(t *testing.T, server *Server, sides []*side, op operation) string {
	t.Helper()
	var outcomes [2]string
	for i, s := range sides {
		outcomes[i] = text(s.play(op))
	}
	if difference := difference(outcomes[0], outcomes[1]); difference != "" {
		return fmt.Sprintf("%s\n%s said: %v\n%s said: %v", difference, sides[0].name, sides[0].failed, sides[1].name, sides[1].failed)
	}
	server.CollectGarbage()
	for i, w := range sides[0].watches {
		w.drain()
		other := sides[1].watches[i]
		await(t, "the events of "+w.name, func() bool { return other.count() >= w.count() })
	}
	var differences []string
	for i, w := range sides[0].watches {
		if difference := difference(text(sides[0].events(i)), text(sides[1].events(i))); difference != "" {
			differences = append(differences, w.name+":\n"+difference)
		}
	}
	return strings.Join(differences, "\n")
}

// text is a value as it is compared: line by line.
func text(value any) string {
	lines, err := yaml.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(lines)
}

// difference shows two texts, where they are not the same, with the lines marked that only one of them has.
func difference(model, actual string) string {
	if model == actual {
		return ""
	}
	mark := func(with string, lines, others []string) string {
		for i, line := range lines {
			if !slices.Contains(others, line) {
				lines[i] = with + line
			}
		}
		return strings.Join(lines, "\n")
	}
	ours, theirs := strings.Split(model, "\n"), strings.Split(actual, "\n")
	return mark("- ", slices.Clone(ours), theirs) + "\n" + mark("+ ", slices.Clone(theirs), ours)
}

// side is one of the two that are compared.
type side struct {
	name      string
	namespace string
	api       client.WithWatch
	held      map[string][]client.Object // what the last operations read or wrote of each object
	labels    labeler
	failed    error // of the last operation
	outcomes  map[string]int
	watches   []*recorder
}

func newSide(t *testing.T, name string, api client.WithWatch, namespace string) *side {
	t.Helper()
	s := &side{name: name, namespace: namespace, api: api, held: map[string][]client.Object{}, labels: newLabeler(), outcomes: map[string]int{}}
	for _, wanted := range testWatches() {
		opened, err := api.Watch(t.Context(), wanted.list, append(wanted.options, client.InNamespace(namespace))...)
		if err != nil {
			t.Fatalf("%s: a watch of %s: %v", name, wanted.name, err)
		}
		r := &recorder{name: "the watch of " + wanted.name, kind: wanted.kind, from: opened}
		s.watches = append(s.watches, r)
		if _, model := opened.(*boundWatch); !model {
			go r.record()
		}
		t.Cleanup(opened.Stop)
	}
	return s
}

// play plays an operation, and tells its outcome such that it can be compared.
func (s *side) play(op operation) map[string]any {
	result, err := op.run(s)
	s.failed = err
	if err != nil {
		outcome := map[string]any{"error": "another error"}
		if status := apierrors.APIStatus(nil); asStatus(err, &status) {
			outcome["error"] = fmt.Sprintf("%s (%d)", status.Status().Reason, status.Status().Code)
		}
		s.outcomes[outcome["error"].(string)]++
		return outcome
	}
	s.outcomes["done"]++
	if result == nil {
		return map[string]any{}
	}
	if object, ok := result.(client.Object); ok && op.keeps {
		s.hold(op.kind, object)
	}
	return s.labels.normal(op.kind, result)
}

func (s *side) hold(kind string, object client.Object) {
	const most = 4
	key := kind + "/" + object.GetName()
	s.held[key] = append(s.held[key], object.DeepCopyObject().(client.Object))
	s.held[key] = s.held[key][max(0, len(s.held[key])-most):]
}

// recorder records the events of a watch.
type recorder struct {
	name string
	kind string
	from watch.Interface

	mu   sync.Mutex
	came []watch.Event
	told int
}

func (r *recorder) record() {
	for happened := range r.from.ResultChan() {
		r.add(happened)
	}
}

func (r *recorder) add(happened watch.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, happened)
}

// drain takes all that a watch of the model has.
func (r *recorder) drain() {
	w := r.from.(*boundWatch).watcher
	for {
		w.mu.Lock()
		left := len(w.late)
		w.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case happened := <-w.result:
			r.add(happened)
		case <-time.After(time.Millisecond):
		}
	}
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.came)
}

// events are the events of a watch since the last time. Those of different objects have no order: the collector has several workers.
func (s *side) events(of int) []map[string]any {
	r := s.watches[of]
	r.mu.Lock()
	fresh := slices.Clone(r.came[r.told:])
	r.told = len(r.came)
	r.mu.Unlock()
	nameOf := func(happened watch.Event) string {
		if object, ok := happened.Object.(client.Object); ok {
			return object.GetName()
		}
		return ""
	}
	slices.SortStableFunc(fresh, func(a, b watch.Event) int { return strings.Compare(nameOf(a), nameOf(b)) })
	var told []map[string]any
	for _, happened := range fresh {
		told = append(told, map[string]any{"type": string(happened.Type), "object": s.labels.normal(r.kind, happened.Object)})
	}
	return told
}
