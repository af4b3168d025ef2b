package cleanup

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

func TestWhoseASessionIsThatTheAttemptsOwnTokenCouldNotEnd(t *testing.T) {
	forbidden := &reactor.Error{Class: reactor.ClassRequestRefused, StatusCode: http.StatusForbidden}
	unknown := &reactor.Error{Class: reactor.ClassKeyRefused, StatusCode: http.StatusUnauthorized}
	for name, test := range map[string]struct {
		refusal           error
		readable, renewed bool
		want              ownership
	}{
		"403 to the first token":             {forbidden, false, false, foreign},
		"403 to a renewed token":             {forbidden, false, true, unproven},
		"401 to a token that has expired":    {unknown, false, false, unproven},
		"401 to a renewed token":             {unknown, false, true, unproven},
		"a token that cannot be sent":        {&reactor.Error{Class: reactor.ClassKeyRefused}, false, false, unproven},
		"403 to the end of what it may read": {forbidden, true, false, proven},
		"401 to the end of what it may read": {unknown, true, true, proven},
	} {
		if got := ownershipAfter(fmt.Errorf("ending it: %w", test.refusal), test.readable, test.renewed); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if foreign >= ownershipNeeded || proven < ownershipNeeded {
		t.Error("a session of another attempt may be ended, or the attempt's own may not")
	}
}

func TestWhetherTheTokenOfAnAttemptWasRenewed(t *testing.T) {
	first := &v1alpha1.SessionAttempt{TokenIssuedTime: &metav1.Time{Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	for name, test := range map[string]struct {
		attempt *v1alpha1.SessionAttempt
		issued  string
		want    bool
	}{
		"the first one":                      {first, "2026-03-01T12:00:00Z", false},
		"the first one in another time zone": {first, "2026-03-01T13:00:00+01:00", false},
		"a later one":                        {first, "2026-03-01T16:00:00Z", true},
		"one after Reactor's clock was set":  {first, "2026-03-01T11:00:00Z", true},
		"a Secret that does not tell":        {first, "", false},
		"a Secret that tells no time":        {first, "soon", false},
		"an attempt that does not tell":      {&v1alpha1.SessionAttempt{}, "2026-03-01T16:00:00Z", false},
	} {
		if got := isRenewed(test.attempt, map[string]string{v1alpha1.IssuedAtAnnotation: test.issued}); got != test.want {
			t.Errorf("%s: renewed is %t", name, got)
		}
	}
}

// What a key that is lent to other namespaces needs: without proof, an unscoped token may read a session and not end it.
func TestATokenThatMayNotEndASessionMayStillFindThatItIsOver(t *testing.T) {
	fake := emulator.New(emulator.Options{Keys: []string{"rk_first-0123456789abcdef"}})
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: fake.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	token, err := api.Mint(t.Context(), reactor.MintRequest{APIKey: "rk_first-0123456789abcdef", Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	id := startSession(t, fake.Transport(), token.JWT)
	tried := try{Cleaner: &Cleaner{Reactor: api}}
	found, err := tried.endWith(t.Context(), token.JWT, id, false)
	if _, final := errors.AsType[*notEndableError](err); found.ID != id || !final {
		t.Errorf("an open session: %+v, %v", found, err)
	}
	if got := len(fake.Ledger().Open()); got != 1 {
		t.Errorf("%d sessions are open", got)
	}
	fake.EndSession(id)
	if found, err := tried.endWith(t.Context(), token.JWT, id, false); found.State != reactor.StateClosed || err != nil {
		t.Errorf("a closed session: %+v, %v", found, err)
	}
}

// startSession starts a Reactor session, as a program does, and returns its ID.
func startSession(t *testing.T, transport http.RoundTripper, token reactor.Secret) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://reactor.test/sessions", strings.NewReader(`{"model":{"name":"reactor/helios"}}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer := struct {
		SessionID string `json:"session_id"`
	}{}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.SessionID
}
