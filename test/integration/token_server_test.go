package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
)

// What a cluster says of a service account's token, only a cluster knows. The server asks with the rights that the chart gives it.
func TestTheTokenServerKnowsTheServiceAccountsOfTheCluster(t *testing.T) {
	namespace := newNamespace(t, nil)
	objects := []client.Object{&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-server"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{authenticationv1.GroupName}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}}},
	}, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-server"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: namespace + "-server"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "server"}},
	}}
	for _, name := range []string{"server", "web", "other"} {
		objects = append(objects, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	for _, object := range objects {
		if err := admin(t).Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	url := startTokenServer(t, namespace)
	for name, test := range map[string]struct {
		bearer string
		want   int
	}{
		"a named account, for this audience":     {accountToken(t, namespace, "web", "reactor-token-server"), http.StatusOK},
		"a named account, for another audience":  {accountToken(t, namespace, "web", "somebody-else"), http.StatusUnauthorized},
		"a named account, for the API server":    {accountToken(t, namespace, "web", ""), http.StatusUnauthorized},
		"another account, for this audience":     {accountToken(t, namespace, "other", "reactor-token-server"), http.StatusUnauthorized},
		"no token of a service account":          {"eyJhbGciOiJub25lIn0.e30.", http.StatusUnauthorized},
		"no token":                               {"", http.StatusUnauthorized},
		"the key of an account that is no token": {"web", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := postTo(t, url, test.bearer); status != test.want {
				t.Errorf("got %d %s, want %d", status, body, test.want)
			}
		})
	}
	// The server reads the keys of the cluster, so tokens that somebody makes up do not keep a new caller waiting, though they say the right things.
	genuine := accountToken(t, namespace, "web", "reactor-token-server")
	for i := range 50 {
		madeUp := genuine[:strings.LastIndex(genuine, ".")+1] + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%0256d", i))
		if status, body := postTo(t, url, madeUp); status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
			t.Errorf("a made-up token: got %d %s", status, body)
		}
	}
	if status, body := postTo(t, url, genuine); status != http.StatusOK {
		t.Errorf("a genuine token after made-up ones: got %d %s", status, body)
	}
}

// postTo asks a token server with a bearer token; without one if it is empty.
func postTo(t *testing.T, url, bearer string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return response.StatusCode, string(text)
}

// startTokenServer runs one that hands out one token to the service account web of the namespace, and returns the URL of its route.
func startTokenServer(t *testing.T, namespace string) string {
	t.Helper()
	account, err := plane.ServiceAccountConfig(t.Context(), namespace, "server")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := controlplane.KubeconfigFor(account)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string]string{
		"kubeconfig": string(kubeconfig), "jwt": "eyJhbGciOi.eyJzdWIi.c2ln", "expires_at": fmt.Sprint(time.Now().Add(time.Hour).Unix()),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBECONFIG", filepath.Join(folder, "kubeconfig"))
	address := freeAddress(t)
	settings, err := config.ParseTokenServer([]string{"--shared-token-dir=" + folder, "--service-accounts=" + namespace + "/web", "--service-account-audience=reactor-token-server",
		"--listen=" + address, "--metrics-bind-address=0", "--health-probe-bind-address=0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tokenserver.Run(ctx, settings, "test", slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			return "http://" + address + settings.Path
		}
		select {
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		default:
		}
	}
}

// accountToken is a token of a service account for an audience; for the API server's own when it is empty.
func accountToken(t *testing.T, namespace, name, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := admin(t).SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}
