// Package controllertest runs controllers on the model of the API server inside a testing/synctest bubble. It answers two questions: which
// requests did the controllers send, and what did a test make of them.
package controllertest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// Call is one request of the operator.
type Call struct {
	// Verb is a verb of apimodel, followed by the subresource, if any, as in "update status"; or "delete by force" if the request shortens the
	// grace period.
	Verb string
	// Kind and Name are those of the object. The name is empty for lists.
	Kind, Name string
}

// Writes reports whether the call changes an object.
func (c Call) Writes() bool { return c.Verb != apimodel.VerbGet && c.Verb != apimodel.VerbList }

// Meddle decides what happens to a call of the operator. It serves the call with do, at most once, and returns what the operator receives.
type Meddle func(made Call, do func() error) error

// API is a model of the API server that keeps an account of the operator's calls.
type API struct {
	client.WithWatch // the client of the tests: its requests are not in the account, and nothing meddles with them

	// CacheLag is how long a change takes to reach the operator's cache, so that reconciles meet stale caches as they do in a cluster. The watch of
	// a kind in KindLag has its own lag. A run keeps the lags that it started with.
	CacheLag time.Duration
	KindLag  map[string]time.Duration

	model  *apimodel.Server
	writes atomic.Uint64

	mu      sync.Mutex
	crashed map[string]func() bool // whether the run with this user name has crashed
	calls   []Call
	meddle  Meddle
	mutate  func(created client.Object)
	written strings.Builder
}

// NewAPI returns an API server that holds these objects as they are, with their UIDs and versions.
func NewAPI(restored ...client.Object) (*API, error) {
	model := apimodel.New(apimodel.Options{})
	a := &API{WithWatch: model.Client("tests"), CacheLag: 20 * time.Millisecond, KindLag: map[string]time.Duration{}, model: model, crashed: map[string]func() bool{}}
	model.SetHook(a.serve)
	return a, model.Restore(restored...)
}

// ClientFor returns the client of a run of the operator. When crashed returns true, no request reaches the server.
func (a *API) ClientFor(crashed func() bool) client.WithWatch {
	a.mu.Lock()
	defer a.mu.Unlock()
	user := "operator " + uuid.NewString()
	a.crashed[user] = crashed
	return a.model.Client(user)
}

// serve is the hook of the model.
func (a *API) serve(_ context.Context, asked apimodel.Request, do func() error) error {
	if asked.Writes() {
		defer a.writes.Add(1)
	}
	a.mu.Lock()
	crashed := a.crashed[asked.User]
	a.mu.Unlock()
	if crashed == nil {
		return do()
	}
	if crashed() {
		return errors.New("the operator has crashed")
	}
	made := callOf(asked)
	meddle, mutate := a.Record(made, asked.Sent)
	admitted := func() error {
		if object, ok := asked.Sent.(client.Object); ok && mutate != nil && made.Verb == apimodel.VerbCreate {
			mutate(object)
		}
		return do()
	}
	if meddle == nil {
		return admitted()
	}
	return meddle(made, admitted)
}

func callOf(asked apimodel.Request) Call {
	verb := strings.TrimSpace(asked.Verb + " " + asked.Subresource)
	if sent, ok := asked.Sent.(*metav1.DeleteOptions); ok && sent.GracePeriodSeconds != nil {
		verb = "delete by force"
	}
	return Call{verb, asked.Kind, asked.Name}
}

// Record adds a call to the account, and returns what is to happen to it.
func (a *API) Record(made Call, sent any) (Meddle, func(created client.Object)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, made)
	if made.Writes() {
		a.written.WriteString(textOf(sent) + "\n")
	}
	return a.meddle, a.mutate
}

// textOf is the body of a write without the payload of a Secret.
func textOf(sent any) string {
	text, err := json.Marshal(sent)
	if err != nil {
		panic(err)
	}
	var content map[string]json.RawMessage
	if json.Unmarshal(text, &content) != nil {
		return string(text) // a JSON patch
	}
	delete(content, "data")
	text, err = json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// MeddleWith lets f decide what happens to each call of the operator from now on. Nil: the server serves them all.
func (a *API) MeddleWith(f func(made Call, do func() error) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.meddle = f
}

// MutateWith lets a mutating webhook change what the operator creates. Nil: there is no webhook.
func (a *API) MutateWith(f func(created client.Object)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mutate = f
}

// Mutate returns the webhook, or nil.
func (a *API) Mutate() func(created client.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mutate
}

// Calls returns the calls of the operator.
func (a *API) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// Asked counts the calls that match. An empty field matches all.
func (a *API) Asked(like Call) int {
	count := 0
	for _, made := range a.Calls() {
		if (like.Verb == "" || like.Verb == made.Verb) && (like.Kind == "" || like.Kind == made.Kind) && (like.Name == "" || like.Name == made.Name) {
			count++
		}
	}
	return count
}

// Writes counts the calls that changed an object, or tried to.
func (a *API) Writes() int {
	return len(slices.DeleteFunc(a.Calls(), func(made Call) bool { return !made.Writes() }))
}

// AllWrites counts the writes of all clients, including those of the tests and of the garbage collector.
func (a *API) AllWrites() uint64 { return a.writes.Load() }

// TakeWritten returns what the operator wrote since the last call, without the payloads of Secrets.
func (a *API) TakeWritten() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.written.Reset()
	return a.written.String()
}

// CollectGarbage deletes the objects whose owners are gone.
func (a *API) CollectGarbage() {
	if a.model.CollectGarbage() {
		a.writes.Add(1)
	}
}
