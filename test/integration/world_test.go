package integration

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// keySecret holds the API key in each world.
const keySecret = "reactor-api-key"

var codecs = serializer.NewCodecFactory(clientgoscheme.Scheme)

// world is a namespace with an API key in it, a Reactor of its own that knows the key, and the way that an operator takes to
// the API server. It outlives the operators that are started in it.
type world struct {
	t          *testing.T
	kube       client.WithWatch // the test's own, which may do everything
	namespace  string
	watched    string // the namespaces that the operators watch; empty for the whole cluster
	key        string
	reactor    *reactorAPI
	api        *crossing // between the operators and the API server
	kubeconfig string    // of the operators
	caBundle   string    // of the operators: whom they trust to be Reactor
	fences     int
}

// reactorAPI is an emulator, and the crossing before it.
type reactorAPI struct {
	*emulator.Emulator
	*crossing
}

// newWorld makes a world in which an operator has the rights that config/watched-namespace gives, and no others.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldWithoutRights(t)
	w.grant("watched-namespace")
	return w
}

// newWorldWithoutRights makes a world in which the operator's service account may do nothing yet.
func newWorldWithoutRights(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, kube: admin(t), namespace: newNamespace(t, nil), key: newKey()}
	w.watched = w.namespace
	w.reactor = newReactor(t, w.key)
	w.api = newCrossing(t, wayToTheAPIServer(t))
	w.api.answered = func(seen request, status int) { rights.use(seen, status, t.Name()) }
	w.kubeconfig = writeKubeconfig(t, w.api)
	w.caBundle = writeFile(t, "ca.crt", w.reactor.certificate)
	w.setKey(w.key)
	return w
}

// neighbour returns a world in another namespace, with the same Reactor and key and the same way to the API server.
func (w *world) neighbour() *world {
	w.t.Helper()
	other := *w
	other.namespace = newNamespace(w.t, nil)
	other.setKey(w.key)
	return &other
}

// newReactor serves an emulator that knows the key.
func newReactor(t *testing.T, key string) *reactorAPI {
	t.Helper()
	reactor := emulator.New(emulator.Options{Keys: []string{key}})
	heard.guardTokensOf(reactor)
	return &reactorAPI{reactor, newCrossing(t, reactor)}
}

// newKey returns an API key, for which the leak scan looks.
func newKey() string { return heard.guard("rk_" + randomText()) }

func randomText() string { return strings.ToLower(rand.Text() + rand.Text()) }

// mintDirectly asks the emulator for a token.
func mintDirectly(t *testing.T, reactor http.Handler, key string) string {
	t.Helper()
	asked := httptest.NewRequest(http.MethodPost, "/tokens", nil)
	asked.Header.Set("Reactor-API-Key", key)
	answered := httptest.NewRecorder()
	reactor.ServeHTTP(answered, asked)
	var answer struct{ JWT string }
	if err := json.Unmarshal(answered.Body.Bytes(), &answer); err != nil || answer.JWT == "" {
		t.Fatalf("the emulator answered %d: %v", answered.Code, err)
	}
	return answer.JWT
}

// wayToTheAPIServer passes requests on as they are, with the credentials that they have. What they say is heard.
func wayToTheAPIServer(t *testing.T) http.Handler {
	t.Helper()
	target, _, err := rest.DefaultServerUrlFor(plane.config)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(plane.config))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // its sender is gone
	}
	said := heard.listen("requests to the API server in " + t.Name())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := readAgain(r)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		seen := requestOf(r, body)
		_, _ = fmt.Fprintf(said, "%s?%s %s\n%s\n", seen, seen.query, r.UserAgent(), spoken(seen))
		proxy.ServeHTTP(w, r)
	})
}

// writeKubeconfig writes the file by which an operator finds the server and is recognized there as its service account.
func writeKubeconfig(t *testing.T, server *crossing) string {
	t.Helper()
	ensureNamespace(t, systemNamespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: operatorName}}
	if err := admin(t).Create(t.Context(), account); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	config, err := plane.ServiceAccountConfig(t.Context(), systemNamespace, operatorName)
	if err != nil {
		t.Fatal(err)
	}
	config = &rest.Config{
		Host: server.url, BearerToken: config.BearerToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: server.certificate},
	}
	text, err := controlplane.KubeconfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "kubeconfig", text)
}

// writeFile writes a file that goes with the test, and returns its path.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// grant applies what a folder below config gives, in the world's namespace, and waits until it is in force.
func (w *world) grant(folder string) {
	w.t.Helper()
	w.grantAll(render(w.t, folder))
}

// grantAll creates these Roles and RoleBindings in the namespace.
func (w *world) grantAll(objects []*unstructured.Unstructured) {
	w.t.Helper()
	var rights []any
	for _, object := range objects {
		object.SetNamespace(w.namespace)
		if err := w.kube.Create(w.t.Context(), object); err != nil {
			w.t.Fatalf("create the %s %s: %v", object.GetKind(), object.GetName(), err)
		}
		rules, _, _ := unstructured.NestedSlice(object.Object, "rules")
		rights = append(rights, rules...)
	}
	for _, rule := range rights {
		w.waitForRight(rule.(map[string]any))
	}
}

// waitForRight waits until the API server knows the first right of a rule.
func (w *world) waitForRight(rule map[string]any) {
	w.t.Helper()
	first := func(field string) string {
		values, _, _ := unstructured.NestedStringSlice(rule, field)
		return cmp.Or(values...)
	}
	resource, subresource, _ := strings.Cut(first("resources"), "/")
	wanted := authorizationv1.ResourceAttributes{
		Namespace: w.namespace, Verb: first("verbs"), Group: first("apiGroups"), Resource: resource, Subresource: subresource,
	}
	expect.Eventually(w.t, "the Role to be in force", func() error {
		if !may(w.t, "system:serviceaccount:"+systemNamespace+":"+operatorName, wanted) {
			return fmt.Errorf("%v is not allowed", wanted)
		}
		return nil
	})
}

var rendered sync.Map // folder → YAML

// render builds a folder below config with kustomize.
func render(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	text, ok := rendered.Load(folder)
	if !ok {
		text = mustKubectl(t, "kustomize", filepath.Join(manifests, folder))
		rendered.Store(folder, text)
	}
	return decode(t, text.(string))
}

// setKey writes the API key into its Secret.
func (w *world) setKey(key string) {
	w.t.Helper()
	w.key = key
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: keySecret}}
	secret.StringData = map[string]string{"api-key": key}
	err := w.kube.Create(w.t.Context(), secret)
	if apierrors.IsAlreadyExists(err) {
		secret = w.secret(keySecret)
		secret.Data = map[string][]byte{"api-key": []byte(key)}
		err = w.kube.Update(w.t.Context(), secret)
	}
	if err != nil {
		w.t.Fatal("write the API key:", err)
	}
}

// rotateKey makes a new key, which Reactor knows, the one in the Secret.
func (w *world) rotateKey() {
	w.t.Helper()
	key := newKey()
	w.reactor.AddKey(key)
	w.setKey(key)
}

// secret reads a Secret.
func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, secret); err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// mints is how many tokens were issued for the world's own key and its predecessors.
func (w *world) mints() int { return w.reactor.Ledger().Mints() }

// unstructuredList returns an empty list of a kind.
func unstructuredList(kind schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
