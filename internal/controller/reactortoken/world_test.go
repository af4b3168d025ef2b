package reactortoken

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
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
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
	"github.com/reactor-operator/reactor-operator/test/sim/controllertest"
)

const (
	namespace = "studio"
	keySecret = "reactor-api-key"
	firstKey  = "rk_first-0123456789abcdef"
	secondKey = "rk_second-0123456789abcdef"
)

func objectNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// world is a cluster with the operator in it, and Reactor beside it, inside a synctest bubble: its clock jumps from one
// event to the next, so that days cost milliseconds.
type world struct {
	*testing.T
	api     *controllertest.API
	reactor *emulator.Emulator
	clock   clock.Clock // of the operator's host
	tune    func(*Options)
	workers int // reconciles at the same time
	run     *controllertest.Run
	output  output
}

// inWorld runs a test in a world that has an API key, which Reactor knows, and not yet an operator. In the end it looks for
// secrets in all its output.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	if testing.Short() {
		t.Skip("it plays a story of a simulated cluster: make test runs it")
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, workers: 2, clock: clock.RealClock{}, api: newAPI(t), reactor: emulator.New(emulator.Options{Keys: []string{firstKey, secondKey}})}
		w.create(secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, firstKey))
		t.Cleanup(func() {
			w.stop()
			for _, leak := range w.leaks() {
				t.Errorf("a secret has leaked: %s", leak)
			}
		})
		test(w)
	})
}

func newAPI(t *testing.T, restored ...client.Object) *controllertest.API {
	t.Helper()
	api, err := controllertest.NewAPI(restored...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// start starts the operator, and lets it do what there is to do at once.
func (w *world) start() {
	w.Helper()
	w.stop()
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: w.reactor.Transport(), Clock: w.clock})
	if err != nil {
		w.Fatal(err)
	}
	options := Options{Minter: api, Recorder: &w.output, Clock: w.clock, Mint: mintqueue.Limits{QPS: 5, Burst: 10},
		AllowRestart: true, AllowPromptDelivery: true}
	if w.tune != nil {
		w.tune(&options)
	}
	w.run = w.api.NewRun()
	err = w.run.Start(controllertest.Options{
		Logger: w.output.logger(), Concurrency: w.workers, ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: SecretCache()},
		Add: func(mgr ctrl.Manager, access client.Client) error {
			options.Client, options.Cache, options.APIReader = access, mgr.GetCache(), access
			return New(options).SetupWithManager(mgr)
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.pass(settling)
}

// stop stops the operator, if one runs.
func (w *world) stop() {
	if w.run == nil {
		return
	}
	if err := w.run.Stop(); err != nil && !w.run.Crashed() {
		w.Error(err)
	}
	w.run = nil
}

// settling is more than the operator needs for what is due at once: caches that lag, and a debounce of a second.
const settling = 3 * time.Second

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// passUntil lets time pass until a time.
func (w *world) passUntil(until time.Time) { w.pass(time.Until(until)) }

func (w *world) settle() { w.pass(settling) }

func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, object := range objects {
		pod, isPod := object.DeepCopyObject().(*corev1.Pod)
		if err := w.api.Create(context.Background(), object); err != nil {
			w.Fatal(err)
		}
		if isPod { // a create ignores the status
			pod.ResourceVersion = object.GetResourceVersion()
			if err := w.api.Status().Update(context.Background(), pod); err != nil {
				w.Fatal(err)
			}
		}
	}
}

// newToken is a ReactorToken with the key of the world.
func newToken(name string, changes ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	token.Spec.APIKeySecretRef.Name = keySecret
	for _, change := range changes {
		change(token)
	}
	return token
}

func lifetime(d v1alpha1.Duration) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) { token.Spec.Lifetime = d }
}

func writesTo(name string) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) { token.Spec.Secret.Name = name }
}

// token reads a ReactorToken.
func (w *world) token(name string) *v1alpha1.ReactorToken {
	w.Helper()
	token := &v1alpha1.ReactorToken{}
	if err := w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, token); err != nil {
		w.Fatal(err)
	}
	return token
}

// edit changes a ReactorToken.
func (w *world) edit(name string, change func(*v1alpha1.ReactorToken)) {
	w.Helper()
	token := w.token(name)
	change(token)
	if err := w.api.Update(context.Background(), token); err != nil {
		w.Fatal(err)
	}
}

// secret reads a Secret; nil when there is none.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	err := w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return secret
}

// editSecret changes a Secret.
func (w *world) editSecret(name string, change func(*corev1.Secret)) {
	w.Helper()
	secret := w.secret(name)
	change(secret)
	if err := w.api.Update(context.Background(), secret); err != nil {
		w.Fatal(err)
	}
}

// rotate puts another API key into the key's Secret.
func (w *world) rotate(key string) {
	w.Helper()
	w.editSecret(keySecret, func(secret *corev1.Secret) { secret.Data[v1alpha1.DefaultAPIKeyKey] = []byte(key) })
}

// remove deletes an object, and then, as the garbage collector does, the Secrets that it owns.
func (w *world) remove(object client.Object) {
	w.Helper()
	ctx := context.Background()
	if err := w.api.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		w.Fatal(err)
	}
	if err := w.api.Delete(ctx, object); err != nil {
		w.Fatal(err)
	}
	w.pass(time.Second)
	w.api.CollectGarbage()
}

// mints is how many tokens Reactor has issued.
func (w *world) mints() int { return w.reactor.Ledger().Mints() }

// attempts is how many requests for a token Reactor has seen.
func (w *world) attempts() int { return len(w.reactor.Ledger().Calls) }

// wantMints checks how many tokens were issued since the world began.
func (w *world) wantMints(want int) {
	w.Helper()
	if got := w.mints(); got != want {
		w.Errorf("%d tokens were minted, want %d", got, want)
	}
}

// wantValid checks that a Secret holds a token which Reactor accepts.
func (w *world) wantValid(name string) {
	w.Helper()
	secret := w.secret(name)
	if secret == nil {
		w.Errorf("there is no Secret %q", name)
		return
	}
	claims, err := w.reactor.Verify(string(secret.Data[targetsecret.JWTKey]))
	if err != nil {
		w.Errorf("Secret %q: %v", name, err)
		return
	}
	if got, want := string(secret.Data[targetsecret.ExpiresAtKey]), fmt.Sprint(claims.ExpiresAt.Unix()); got != want {
		w.Errorf("Secret %q says that the token expires at %s, and the token says %s", name, got, want)
	}
}

// condition is a condition of a ReactorToken as status/reason, or "" when it has none.
func (w *world) condition(name, kind string) string {
	w.Helper()
	return conditionOf(&w.token(name).Status, kind)
}

func conditionOf(status *v1alpha1.ReactorTokenStatus, kind string) string {
	found := meta.FindStatusCondition(status.Conditions, kind)
	if found == nil {
		return ""
	}
	return string(found.Status) + "/" + found.Reason
}

// want checks conditions of a ReactorToken, given as type=status/reason; type= for one that is to be absent.
func (w *world) want(name string, conditions ...string) {
	w.Helper()
	for _, wanted := range conditions {
		kind, want, _ := strings.Cut(wanted, "=")
		if got := w.condition(name, kind); got != want {
			w.Errorf("the condition %s of %s is %q, want %q", kind, name, got, want)
		}
	}
}

// output is all that the operator writes outside of the API: events and the log.
type output struct {
	mu     sync.Mutex
	events []emittedEvent
	log    bytes.Buffer
}

type emittedEvent struct {
	at                 time.Time
	name, reason, note string
}

// Eventf makes output a recorder of events.
func (o *output) Eventf(regarding, _ runtime.Object, _, reason, action, note string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, emittedEvent{time.Now(), regarding.(client.Object).GetName(), reason, fmt.Sprintf(note, args...) + " " + action})
}

// Write makes output the destination of the log.
func (o *output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.Write(line)
}

func (o *output) logger() logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventsOf lists the reasons of the events of a ReactorToken.
func (w *world) eventsOf(name string) []string {
	w.output.mu.Lock()
	defer w.output.mu.Unlock()
	var reasons []string
	for _, event := range w.output.events {
		if event.name == name {
			reasons = append(reasons, event.reason)
		}
	}
	return reasons
}

// count counts how often an event was emitted for a ReactorToken.
func (w *world) count(name, reason string) int {
	count := 0
	for _, emitted := range w.eventsOf(name) {
		if emitted == reason {
			count++
		}
	}
	return count
}

// wantNoErrors checks that nothing was logged as an error.
func (w *world) wantNoErrors() {
	w.Helper()
	w.output.mu.Lock()
	defer w.output.mu.Unlock()
	for line := range strings.Lines(w.output.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			w.Errorf("logged: %s", line)
		}
	}
}

// leaks searches the output of the operator, and all that it wrote outside of payloads, for every secret that there ever was.
func (w *world) leaks() []string {
	written := w.api.TakeWritten()
	w.output.mu.Lock()
	defer w.output.mu.Unlock()
	texts := map[string]string{"what was written": written, "the log": w.output.log.String(), "the events": fmt.Sprint(w.output.events)}
	var found []string
	for _, secret := range append(w.reactor.IssuedJWTs(), firstKey, secondKey) {
		for where, text := range texts {
			if slices.ContainsFunc(formsOf(secret), func(form string) bool { return strings.Contains(text, form) }) {
				found = append(found, fmt.Sprintf("%s… in %s", secret[:6], where))
			}
		}
	}
	return found
}

// formsOf is a secret as it is, and as it shows in the base64 of a longer text that begins 0, 1 or 2 bytes before it.
func formsOf(secret string) []string {
	forms := []string{secret}
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + secret))
		forms = append(forms, encoded[4:len(encoded)-4])
	}
	return forms
}

func conditionWith(message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Planted", Message: message}
}
