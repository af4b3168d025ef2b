package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/test/sim/controllertest"
)

const (
	namespace = "media"
	keySecret = "reactor-api-key"
	firstKey  = "rk_first-0123456789abcdef"
	secondKey = "rk_second-0123456789abcdef"
	model     = "reactor/helios"
)

// world is a cluster with the operator and a node in it, and Reactor beside it, inside a synctest bubble.
type world struct {
	*testing.T
	api     *controllertest.API
	reactor *emulator.Emulator
	node    *kubelet
	tune    func(*Options)
	passes  int // at once
	run     *controllertest.Run

	mu   sync.Mutex
	told []string // events, as object/reason
}

// inWorld runs a test in a world with an API key and a node, and not yet an operator.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	if testing.Short() {
		t.Skip("it plays a story of a simulated cluster: make test runs it")
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, passes: 2, api: newAPI(t), reactor: emulator.New(emulator.Options{Keys: []string{firstKey, secondKey}})}
		w.node = &kubelet{api: w.api, writes: w.api.AllWrites, reactor: w.reactor.Transport(), program: runs(time.Hour), power: make(chan struct{}), running: map[types.UID]*machine{}}
		ctx, stop := context.WithCancel(context.Background())
		go w.node.work(ctx)
		go w.collect(ctx)
		w.create(secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, firstKey))
		t.Cleanup(func() {
			w.stop()
			stop()
			close(w.node.power)
			w.node.mu.Lock()
			for _, m := range w.node.running {
				m.kill()
			}
			w.node.mu.Unlock()
			synctest.Wait()
		})
		test(w)
	})
}

// collect is the garbage collector.
func (w *world) collect(ctx context.Context) {
	for seen := uint64(0); ctx.Err() == nil; {
		if written := w.api.AllWrites(); written != seen {
			seen = written
			w.api.CollectGarbage()
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
}

func newAPI(t *testing.T, restored ...client.Object) *controllertest.API {
	t.Helper()
	api, err := controllertest.NewAPI(restored...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// Eventf makes world a recorder of events.
func (w *world) Eventf(regarding, _ runtime.Object, _, reason, _, _ string, _ ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, regarding.(client.Object).GetName()+"/"+reason)
}

func (w *world) count(name, reason string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := 0
	for _, told := range w.told {
		if told == name+"/"+reason {
			count++
		}
	}
	return count
}

// start starts the operator, both its halves.
func (w *world) start() {
	w.Helper()
	w.stop()
	options := Options{APIURL: "https://reactor.test", Recorder: w, Clock: clock.RealClock{}, SessionsPerKey: 5, SessionStartsPerMinute: 10}
	if w.tune != nil {
		w.tune(&options)
	}
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: w.reactor.Transport(), Clock: options.Clock})
	if err != nil {
		w.Fatal(err)
	}
	options.Reactor = api
	tokens := reactortoken.Options{Minter: api, Recorder: w, Clock: options.Clock, Mint: mintqueue.Limits{QPS: 20, Burst: 40}}
	w.run = w.api.NewRun()
	err = w.run.Start(controllertest.Options{
		Logger: logr.Discard(), Concurrency: w.passes,
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: reactortoken.SecretCache(), &corev1.Pod{}: PodCache()},
		Add: func(mgr ctrl.Manager, access client.Client) error {
			options.Client, options.Cache, options.Lister, options.APIReader = access, mgr.GetCache(), IndexedLister(mgr.GetCache()), access
			tokens.Client, tokens.Cache, tokens.APIReader = access, mgr.GetCache(), access
			return errors.Join(reactortoken.New(tokens).SetupWithManager(mgr), New(options).SetupWithManager(mgr))
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.settle()
}

func (w *world) stop() {
	if w.run == nil {
		return
	}
	if err := w.run.Stop(); err != nil && !w.run.Crashed() {
		w.Error(err)
	}
	w.run = nil
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// settle gives the operator and the node time for what is due at once.
func (w *world) settle() { w.pass(10 * time.Second) }

func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, object := range objects {
		if err := w.api.Create(context.Background(), object); err != nil {
			w.Fatal(err)
		}
	}
}

// newSession is a ReactorSession with the key of the world.
func newSession(name string, changes ...func(*v1alpha1.ReactorSession)) *v1alpha1.ReactorSession {
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	session.Spec.Model = model
	session.Spec.APIKeySecretRef.Name = keySecret
	session.Spec.Template.Spec.Containers = []corev1.Container{{Name: "stream", Image: "example.com/stream:1"}}
	for _, change := range changes {
		change(session)
	}
	return session
}

func (w *world) session(name string) *v1alpha1.ReactorSession {
	w.Helper()
	session := &v1alpha1.ReactorSession{}
	if err := w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, session); err != nil {
		w.Fatal(err)
	}
	return session
}

func (w *world) edit(name string, change func(*v1alpha1.ReactorSession)) {
	w.Helper()
	session := w.session(name)
	change(session)
	if err := w.api.Update(context.Background(), session); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(object client.Object) {
	w.Helper()
	if err := w.api.Delete(context.Background(), object); err != nil {
		w.Fatal(err)
	}
}

// gone reports whether a session is not there any more.
func (w *world) gone(name string) bool {
	return apierrors.IsNotFound(w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, &v1alpha1.ReactorSession{}))
}

func (w *world) pods() []corev1.Pod {
	w.Helper()
	pods := &corev1.PodList{}
	if err := w.api.List(context.Background(), pods); err != nil {
		w.Fatal(err)
	}
	return pods.Items
}

// want checks conditions of a session, given as type=status/reason; type= for one that is to be absent.
func (w *world) want(name string, conditions ...string) {
	w.Helper()
	session := w.session(name)
	for _, wanted := range conditions {
		kind, want, _ := strings.Cut(wanted, "=")
		got, message := "", ""
		if found := meta.FindStatusCondition(session.Status.Conditions, kind); found != nil {
			got, message = string(found.Status)+"/"+found.Reason, found.Message
		}
		if got != want {
			w.Errorf("the condition %s of %s is %q, want %q: %s", kind, name, got, want, message)
		}
	}
}

// ended describes the attempts that ended, the latest first.
func (w *world) ended(name string) string {
	w.Helper()
	var ends []string
	for _, ended := range w.session(name).Status.RecentAttempts {
		ends = append(ends, fmt.Sprintf("%d %s %s %s", ended.Number, ended.Class, ended.Reason, ended.Cleanup))
	}
	return strings.Join(ends, ", ")
}

// wantOpen checks how many Reactor sessions are open, and that no session was ever doubled.
func (w *world) wantOpen(want int) {
	w.Helper()
	ledger := w.reactor.Ledger()
	if got := len(ledger.Open()); got != want {
		w.Errorf("%d Reactor sessions are open, want %d: %+v", got, want, ledger.Open())
	}
	for _, s := range ledger.Sessions {
		if most := ledger.MostOpen(s.Model); most > 1 && strings.HasPrefix(s.Model, "only/") {
			w.Errorf("%d sessions of the model %s were open at once", most, s.Model)
		}
	}
}

func policy(p v1alpha1.SessionRestartPolicy) func(*v1alpha1.ReactorSession) {
	return func(session *v1alpha1.ReactorSession) { session.Spec.RestartPolicy = p }
}

func suspend(on bool) func(*v1alpha1.ReactorSession) {
	return func(session *v1alpha1.ReactorSession) { session.Spec.Suspend = &on }
}

func apiKeyEnv(session *v1alpha1.ReactorSession) {
	session.Spec.Credentials.Delivery = v1alpha1.DeliveryAPIKeyEnv
}

func ofModel(name string) func(*v1alpha1.ReactorSession) {
	return func(session *v1alpha1.ReactorSession) { session.Spec.Model = v1alpha1.ModelName(name) }
}

// aSession is a ReactorSession as the API server has it, at its first attempt.
func aSession(changes ...func(*v1alpha1.ReactorSession)) *v1alpha1.ReactorSession {
	session := newSession("night", changes...)
	session.UID, session.Generation = "5b6a4f6e-0000-4000-8000-000000000001", 1
	session.Status.Attempts = 1
	name := attempts.Name(session, 1)
	session.Status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: name}
	if session.Spec.UsesTokenFile() {
		session.Status.CurrentAttempt.TokenName = name
	}
	return session
}

func built(session *v1alpha1.ReactorSession) *corev1.Pod {
	return attempts.BuildPod(session, &session.Status, session.Status.CurrentAttempt, attempts.Settings{APIURL: "https://api.reactor.inc"})
}
