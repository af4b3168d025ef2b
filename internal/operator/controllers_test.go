package operator

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// newTestManager returns a manager that has not called its cluster yet, which does not exist.
func newTestManager(t *testing.T, settings config.Config) *Manager {
	t.Helper()
	options := managerOptions(settings)
	options.Controller.SkipNameValidation = new(true) // one process, several managers
	options.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
		mapper := meta.NewDefaultRESTMapper(nil)
		mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
		mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
		mapper.Add(v1alpha1.SchemeGroupVersion.WithKind("ReactorToken"), meta.RESTScopeNamespace)
		mapper.Add(v1alpha1.SchemeGroupVersion.WithKind("ReactorSession"), meta.RESTScopeNamespace)
		return mapper, nil
	}
	mgr, err := manager.New(clusterConfig(&rest.Config{Host: "https://127.0.0.1:1"}, settings, "test"), options)
	if err != nil {
		t.Fatal(err)
	}
	return &Manager{Manager: mgr}
}

// quiet are flags that open no port and need no namespace.
var quiet = []string{"--metrics-bind-address=0", "--health-probe-bind-address=0", "--leader-elect=false"}

func TestControllersAreAddedToAManager(t *testing.T) {
	for name, args := range map[string][]string{
		"of the whole cluster":      nil,
		"of a list of namespaces":   {"--namespaces=studio,media"},
		"named twice":               {"--controllers=tokens,tokens"},
		"with everything allowed":   {"--allow-restart", "--allow-prompt-delivery"},
		"with sessions":             {"--controllers=tokens,sessions"},
		"of sessions alone":         {"--controllers=sessions"},
		"with an emulator's URL":    {"--api-url=http://127.0.0.1:8080"},
		"without series per object": {"--metrics-per-object=false"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := settingsOf(t, append(args, quiet...)...)
			registry := prometheus.NewPedanticRegistry()
			if err := AddControllers(newTestManager(t, settings), settings, "test", registry); err != nil {
				t.Fatal(err)
			}
			want := []string{"reactor_mint_duration_seconds", "reactor_mint_requests_total", "reactor_operator_build_info", "reactor_operator_leader"}
			if slices.Contains(settings.Controllers, config.ControllerSessions) {
				want = append(want, "reactor_session_attempts_total", "reactor_session_cleanups_total", "reactor_session_running_seconds_total")
			}
			if diff := cmp.Diff(want, namesIn(t, registry)); diff != "" {
				t.Errorf("metrics before the election (-want +got):\n%s", diff)
			}
		})
	}
}

type minterFunc func(context.Context, reactor.MintRequest) (reactor.Token, error)

func (f minterFunc) Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error) {
	return f(ctx, request)
}

// The cleanup of a session requests tokens of its own. They are requests like any other.
func TestTheRequestsOfSessionsForTokensAreCounted(t *testing.T) {
	counted := 0
	api := sessionAPI{&reactor.Client{}, minterFunc(func(context.Context, reactor.MintRequest) (reactor.Token, error) {
		counted++
		return reactor.Token{JWT: "counted"}, nil
	})}
	if token, err := cleanup.Reactor(api).Mint(t.Context(), reactor.MintRequest{}); token.JWT != "counted" || err != nil || counted != 1 {
		t.Errorf("got %v and %v, and %d requests were counted", token, err, counted)
	}
}

func namesIn(t *testing.T, registry prometheus.Gatherer) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
	}
	return names
}

func TestAReadThroughTheCacheDoesNotStartAWatchOfSecrets(t *testing.T) {
	mgr := newTestManager(t, settingsOf(t, quiet...))
	err := mgr.GetCache().Get(t.Context(), types.NamespacedName{Namespace: "studio", Name: "web"}, &corev1.Secret{})
	if _, refused := errors.AsType[*cache.ErrResourceNotCached](err); !refused {
		t.Errorf("got %v", err)
	}
}

func TestAddControllersNamesTheFlagThatIsWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	text := filepath.Join(t.TempDir(), "text.pem")
	for path, content := range map[string]string{empty: "", text: "not a certificate"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct{ path, want string }{
		"a file that does not exist": {filepath.Join(t.TempDir(), "none.pem"), "--ca-bundle: open "},
		"an empty file":              {empty, "is empty"},
		"a file of something else":   {text, "--api-url or --ca-bundle: CA bundle: "},
	} {
		t.Run(name, func(t *testing.T) {
			settings := settingsOf(t, append([]string{"--ca-bundle=" + test.path}, quiet...)...)
			err := AddControllers(newTestManager(t, settings), settings, "test", prometheus.NewRegistry())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestAChangeOfTheCABundleIsLogged(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "ca.crt")
	var lines []string
	logger := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	settings := settingsOf(t, append([]string{"--ca-bundle=" + file, "--api-url=" + server.URL}, quiet...)...)
	var api *reactor.Client
	for _, step := range []struct {
		content []byte
		want    string // in the log; empty for no line
	}{
		{certificate, ""},
		{[]byte("half of a file"), "cannot be used: the previous certificates stay in use"},
		{append(certificate, '\n'), "its certificates are in use"},
	} {
		if err := os.WriteFile(file, step.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if api == nil {
			var err error
			if api, err = newReactorClient(settings, "test", logger); err != nil {
				t.Fatal(err)
			}
		}
		lines = nil
		_, err := api.Mint(t.Context(), reactor.MintRequest{APIKey: "rk_test", Lifetime: time.Hour})
		if failure, ok := errors.AsType[*reactor.Error](err); !ok || failure.StatusCode != http.StatusNotFound {
			t.Errorf("the server was not reached: %v", err)
		}
		got := strings.Join(lines, "\n")
		if len(lines) > 1 || (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
			t.Errorf("the log has %q, want %q in one line", got, step.want)
		}
	}
}

func TestAddControllersRefusesARegistryThatIsTaken(t *testing.T) {
	settings := settingsOf(t, quiet...)
	registry := prometheus.NewRegistry()
	if err := AddControllers(newTestManager(t, settings), settings, "test", registry); err != nil {
		t.Fatal(err)
	}
	if err := AddControllers(newTestManager(t, settings), settings, "test", registry); err == nil {
		t.Error("no error")
	}
}

// A controller that was added cannot be added again: its indexes exist.
func TestEveryKnownControllerIsAdded(t *testing.T) {
	for _, name := range config.KnownControllers() {
		settings := settingsOf(t, append(quiet, "--controllers=tokens,sessions")...)
		settings.Controllers = []string{name}
		mgr := newTestManager(t, settings)
		for i, wantErr := range []bool{false, true} {
			if err := AddControllers(mgr, settings, "test", prometheus.NewRegistry()); (err != nil) != wantErr {
				t.Errorf("--controllers=%s, added %d times: %v", name, i+1, err)
			}
		}
	}
}
