package reactor

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCallsAboutASessionCarryTheTokenAndTheVersions(t *testing.T) {
	for method, call := range map[string]func(*Client) error{
		http.MethodGet: func(c *Client) error {
			_, err := c.Session(t.Context(), testJWT, "3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11")
			return err
		},
		http.MethodDelete: func(c *Client) error {
			return c.EndSession(t.Context(), testJWT, "3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11")
		},
	} {
		t.Run(method, func(t *testing.T) {
			var sent *http.Request
			client := clientOver(t, func(request *http.Request) (*http.Response, error) {
				sent = request
				return respond(http.StatusTeapot, nil, strings.NewReader("token "+testJWT.Reveal())), nil
			})
			failure := failureOf(t, call(client))
			if failure.StatusCode != http.StatusTeapot || failure.Excerpt != "token [redacted]" {
				t.Errorf("%v", failure)
			}
			want := http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + testJWT.Reveal()},
				"Reactor-Api-Version": {"1"}, "Reactor-Api-Accept-Version": {"1"}, "User-Agent": {"reactor-operator/test"}}
			if diff := cmp.Diff(want, sent.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if got := sent.Method + " " + sent.URL.String(); got != method+" http://reactor.test/sessions/3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11" {
				t.Errorf("sent %s", got)
			}
		})
	}
}

// The id comes from a pod's termination message, which its program wrote.
func TestWhatIsNoSessionIDNeverEntersAPath(t *testing.T) {
	client := clientOver(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.ErrUnsupported
	})
	for _, id := range []string{"", ".", "..", "../tokens", "a/b", "a?b", "a%2fb", "a b", "a\nb", "ä", strings.Repeat("x", 129)} {
		if IsSessionID(id) {
			t.Errorf("%q is taken for an id", id)
		}
		if _, err := client.Session(t.Context(), testJWT, id); ClassOf(err) != ClassRequestRefused {
			t.Errorf("looking up %q: %v", id, err)
		}
		if err := client.EndSession(t.Context(), testJWT, id); ClassOf(err) != ClassRequestRefused {
			t.Errorf("ending %q: %v", id, err)
		}
	}
	for _, token := range []Secret{"", "eyJ\n"} {
		if err := client.EndSession(t.Context(), token, "a"); ClassOf(err) != ClassKeyRefused {
			t.Errorf("a bad token: %v", err)
		}
	}
	for _, id := range []string{"3b1c5a52-6f0e-4a54-9d3c-0d9a3b2f7c11", "A_1", strings.Repeat("x", 128)} {
		if !IsSessionID(id) {
			t.Errorf("%q is not taken for an id", id)
		}
	}
}

func TestAnAnswerWithoutAStateSaysNothing(t *testing.T) {
	for _, body := range []string{"", "{}", "null", "<html>", `{"state":7}`, `[]`} {
		client := clientOver(t, func(*http.Request) (*http.Response, error) {
			return respond(http.StatusOK, nil, strings.NewReader(body)), nil
		})
		session, err := client.Session(t.Context(), testJWT, "a")
		if ClassOf(err) != ClassUnavailable || session.Over() {
			t.Errorf("%q: %+v, %v", body, session, err)
		}
	}
}

// A proxy answers with a page of its own, during a rollout or before a sign-in. The session behind it still costs money.
func TestAProxysPageIsNoProofThatASessionIsOver(t *testing.T) {
	const page = "<html>come back later</html>"
	for name, status := range map[string]int{"a missing page": http.StatusNotFound, "a page as a success": http.StatusOK, "a refusal": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			client := clientOver(t, func(*http.Request) (*http.Response, error) { return respond(status, nil, strings.NewReader(page)), nil })
			found, err := client.Session(t.Context(), testJWT, "3b1c5a52")
			if ClassOf(err) != ClassUnavailable || found.Over() {
				t.Errorf("looking it up: %+v, %v", found, err)
			}
			if err := client.EndSession(t.Context(), testJWT, "3b1c5a52"); ClassOf(err) != ClassUnavailable {
				t.Errorf("ending it: %v", err)
			}
		})
	}
	t.Run("Reactor's own 404", func(t *testing.T) {
		client := clientOver(t, func(*http.Request) (*http.Response, error) {
			return respond(http.StatusNotFound, nil, strings.NewReader(`{"error":"not_found"}`)), nil
		})
		if found, err := client.Session(t.Context(), testJWT, "3b1c5a52"); err != nil || !found.Over() {
			t.Errorf("looking it up: %+v, %v", found, err)
		}
		if err := client.EndSession(t.Context(), testJWT, "3b1c5a52"); err != nil {
			t.Errorf("ending it: %v", err)
		}
	})
}
