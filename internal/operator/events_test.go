package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/notice"
)

// apiServer stores events and one lease. It is a RoundTripper, so that it works in a synctest bubble.
type apiServer struct {
	mu    sync.Mutex
	down  bool          // every request is answered with 503
	hangs chan struct{} // no request is answered until it is closed; nil: all are
	lease []byte
	notes []string
}

// discovery is what a manager reads before it starts.
var discovery = map[string]string{
	"/api":  `{"kind":"APIVersions","versions":["v1"]}`,
	"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
	"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[
		{"name":"secrets","singularName":"secret","namespaced":true,"kind":"Secret","verbs":["get","list","watch"]},
		{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list","watch"]}]}`,
}

func (c *apiServer) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// hang makes the API server not respond until the channel is closed.
func (c *apiServer) hang(until chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangs = until
}

// eventNotes returns the notes of the events that were created.
func (c *apiServer) eventNotes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.notes...)
}

func (c *apiServer) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := c.hangs; until != nil {
		c.mu.Unlock()
		select {
		case <-request.Context().Done():
		case <-until:
		}
		c.mu.Lock()
		return nil, errors.New("no response")
	}
	code, answer := c.answer(request, body)
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Request: request, Body: io.NopCloser(bytes.NewReader(answer)),
	}, nil
}

func (c *apiServer) answer(request *http.Request, body []byte) (code int, answer []byte) {
	if known, ok := discovery[request.URL.Path]; ok {
		return http.StatusOK, []byte(known)
	}
	isLease := strings.Contains(request.URL.Path, "/leases")
	switch {
	case c.down:
		return http.StatusServiceUnavailable, nil
	case isLease && request.Method == http.MethodGet && c.lease == nil:
		return http.StatusNotFound, []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	case isLease && request.Method == http.MethodGet:
		return http.StatusOK, c.lease
	case isLease:
		c.lease = body
		return http.StatusOK, body
	case strings.HasPrefix(request.URL.Path, "/apis/events.k8s.io/v1/namespaces/studio/events"):
		event := eventsv1.Event{}
		if err := json.Unmarshal(body, &event); err != nil {
			return http.StatusBadRequest, nil
		}
		c.notes = append(c.notes, event.Note)
		return http.StatusCreated, body
	default: // the events of the leader election, which are in its namespace
		return http.StatusCreated, body
	}
}

// startOperator starts the operator's manager with one controller, whose only reconcile is the function. The channel that it returns gets
// what the manager's Start returned.
func startOperator(ctx context.Context, t *testing.T, server *apiServer, once func(context.Context, events.EventRecorder), args ...string) <-chan error {
	t.Helper()
	settings := settingsOf(t, append([]string{"--controllers=tokens", "--metrics-bind-address=0", "--health-probe-bind-address=0"}, args...)...)
	kube := &rest.Config{Host: "http://no.such.host", Transport: server, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	mgr, err := NewManager(kube, settings, "test")
	if err != nil {
		t.Fatal(err)
	}
	added, err := controller.New("once", mgr, controller.Options{
		SkipNameValidation: new(true),
		Reconciler: reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
			once(ctx, mgr.recorder)
			return reconcile.Result{}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = added.Watch(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "studio", Name: "web"}})
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return ended
}

func emitIssued(recorder events.EventRecorder, note string) {
	web := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: "web", UID: "u"}}
	recorder.Eventf(web, nil, corev1.EventTypeNormal, "Issued", "Mint", "%s", note)
}

// The scenario: 1. A reconcile is in flight. 2. The operator is stopped. 3. Two seconds later the reconcile writes its status and emits the
// event of it. The event must be created before the operator ends.
func TestTheEventOfAReconcileThatEndsAfterTheStopSignalIsCreated(t *testing.T) {
	for name, args := range map[string][]string{
		"without leader election": {"--leader-elect=false"},
		"of a leader":             {"--leader-elect", "--leader-election-namespace=reactor-system"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &apiServer{}
				inFlight := make(chan struct{})
				ctx, stop := context.WithCancel(t.Context())
				ended := startOperator(ctx, t, server, func(ctx context.Context, recorder events.EventRecorder) {
					close(inFlight)
					<-ctx.Done()
					time.Sleep(2 * time.Second)
					emitIssued(recorder, "a token was issued")
				}, args...)
				<-inFlight
				stop()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"a token was issued"}, server.eventNotes()); diff != "" {
					t.Errorf("events when the operator has ended (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The scenario: 1. A reconcile emits an event while the API server is down, so the recorder retries it. 2. For the same reason the lease is
// lost. 3. A second later the API server answers again.
func TestAnEventThatIsQueuedWhenTheLeaseIsLostIsCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{}
		ended := startOperator(t.Context(), t, server, func(_ context.Context, recorder events.EventRecorder) {
			server.setDown(true)
			emitIssued(recorder, "a token was issued")
			time.AfterFunc(13*time.Second, func() { server.setDown(false) }) // the lease is renewed after 2 s, and then lost after 10 s
		}, "--leader-elect", "--leader-election-namespace=reactor-system")
		err := <-ended
		if err == nil || !strings.Contains(err.Error(), "leader election lost") {
			t.Fatalf("got %v, want that the lease is lost", err)
		}
		notes := server.eventNotes()
		time.Sleep(time.Minute) // a manager that lost its lease does not wait for its goroutines, and the bubble does
		if diff := cmp.Diff([]string{"a token was issued"}, notes); diff != "" {
			t.Errorf("events when the operator has ended (-want +got):\n%s", diff)
		}
	})
}

// The scenario: 1. A reconcile takes as long as it may. 2. The operator is stopped. 3. The reconcile emits an event, and from then on the API
// server does not respond: neither to the release of the lease nor to the event.
func TestAShutdownEndsBeforeThePodIsKilledWhateverTheAPIServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &apiServer{}
		inFlight, testEnds := make(chan struct{}), make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := startOperator(ctx, t, server, func(ctx context.Context, recorder events.EventRecorder) {
			close(inFlight)
			<-ctx.Done()
			time.Sleep(reactorsession.ReconcileTimeout)
			server.hang(testEnds)
			emitIssued(recorder, "a token was issued")
		}, "--leader-elect", "--leader-election-namespace=reactor-system")
		<-inFlight
		stop()
		stopped := time.Now()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if took, minimum := time.Since(stopped), reactorsession.ReconcileTimeout+notice.FlushTimeout; took < minimum || took > maxShutdown {
			t.Errorf("the shutdown took %s, want %s to %s", took, minimum, maxShutdown)
		}
		close(testEnds)
		time.Sleep(5 * time.Minute) // the manager's recorder of the events of its lease still retries
	})
}
