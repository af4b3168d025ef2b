package reactortoken

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// Every world is searched for secrets when its test ends. These tests provoke leaks, and show that the search finds them.

func TestTheSearchFindsALeakWhereverItIs(t *testing.T) {
	inBase64 := func(secret string) string { return base64.StdEncoding.EncodeToString([]byte(secret)) }
	insideBase64 := func(secret string) string { return inBase64("Bearer " + secret + "\n") }
	plain := func(secret string) string { return secret }
	for name, plant := range map[string]func(w *world, text string){
		"in an event": func(w *world, text string) {
			w.output.Eventf(newToken("web"), nil, "Normal", "Planted", "Plant", "%s", text)
		},
		"in the log": func(w *world, text string) { w.output.logger().Info("planted", "value", text) },
		"in a condition": func(w *world, text string) {
			token := newToken("web")
			token.Status.Conditions = append(token.Status.Conditions, conditionWith(text))
			w.api.Record(call{Verb: "update status", Kind: "ReactorToken", Name: "web"}, token)
		},
		"in an annotation": func(w *world, text string) {
			w.api.Record(call{Verb: "create", Kind: "Secret", Name: "web"}, theirs(func(s *corev1.Secret) { s.Annotations = map[string]string{"a": text} }))
		},
	} {
		for form, write := range map[string]func(string) string{"plain": plain, "base64": inBase64, "inside base64": insideBase64} {
			t.Run(name+" "+form, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.create(newToken("web"))
					w.start()
					for _, secret := range []string{firstKey, w.reactor.IssuedJWTs()[0]} {
						plant(w, "here: "+write(secret)+".")
						if len(w.leaks()) == 0 {
							t.Errorf("%s… was not found", secret[:4])
						}
						w.output.events = nil
						w.output.log.Reset()
					}
				})
			})
		}
	}
}

func TestASecretInAPayloadIsNoLeak(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.Record(call{Verb: "create", Kind: "Secret", Name: "web"}, secretIn(namespace, "web", targetsecret.JWTKey, firstKey))
		if leaks := w.leaks(); len(leaks) != 0 {
			t.Errorf("found %q", leaks)
		}
	})
}

// Reactor, and an admission policy, may quote what they refuse.
func TestSecretsThatOthersQuoteAreNotPassedOn(t *testing.T) {
	for name, provoke := range map[string]func(w *world){
		"Reactor quotes the key when it refuses a request": func(w *world) {
			w.reactor.SetFaults(emulator.Fault{Status: 400, Body: new(`{"message":"request with key ` + firstKey + ` is bad"}`)})
		},
		"Reactor quotes the key in an answer that cannot be used": func(w *world) {
			w.reactor.SetFaults(emulator.Fault{Body: new(`{"jwt": "` + firstKey + `", "expires_at": "soon"}`)})
		},
		"a policy quotes the token that it refuses": func(w *world) {
			w.api.MeddleWith(quoting(func(text string) error {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "web", errors.New(text))
			}, w))
		},
		"a failing API server quotes the token": func(w *world) {
			w.api.MeddleWith(quoting(errors.New, w))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web", dressed))
				provoke(w)
				w.start()
				w.pass(10 * time.Minute)
				if w.condition("web", v1alpha1.ConditionReady) == "True/TokenValid" {
					t.Error("nothing was provoked")
				}
			})
		})
	}
}

// quoting fails each write of a Secret with an error that quotes all tokens, plain and in base64.
func quoting(failWith func(string) error, w *world) func(call, func() error) error {
	return func(made call, do func() error) error {
		if made.Kind != "Secret" || !made.Writes() {
			return do()
		}
		var text strings.Builder
		for _, jwt := range w.reactor.IssuedJWTs() {
			fmt.Fprintf(&text, "data: {jwt: %s, header: %s}", jwt, base64.StdEncoding.EncodeToString([]byte("Bearer "+jwt)))
			fmt.Fprintf(&text, "data: {jwt: %s}", base64.StdEncoding.EncodeToString([]byte(jwt)))
		}
		return failWith(text.String())
	}
}
