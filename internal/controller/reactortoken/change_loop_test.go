package reactortoken

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// dressed is a ReactorToken that puts something of its own into the Secret.
func dressed(token *v1alpha1.ReactorToken) {
	token.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "web"}
	token.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/team": "web"}
	token.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{
		{Name: "token.json", Format: v1alpha1.FormatJSON},
		{Name: "token.env", Format: v1alpha1.FormatEnv},
	}
}

func annotate(name, value string) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) { metav1.SetMetaDataAnnotation(&token.ObjectMeta, name, value) }
}

func TestOneChangeCostsOneMint(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"another lifetime": func(w *world) { w.edit("web", lifetime("2h")) },
		"another scope": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) {
				token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"reactor/helios"}}
			})
		},
		"another key": func(w *world) { w.rotate(secondKey) },
		"three quick edits of the key": func(w *world) {
			for _, key := range []string{secondKey, firstKey, secondKey} {
				w.rotate(key)
				w.pass(300 * time.Millisecond)
			}
		},
		"another Secret with the key": func(w *world) {
			w.create(secretIn(namespace, "new-key", v1alpha1.DefaultAPIKeyKey, secondKey))
			w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.APIKeySecretRef.Name = "new-key" })
		},
		"a request to renew": func(w *world) { w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "1")) },
		"the Secret deleted": func(w *world) { w.remove(w.secret("web")) },
		"the token edited": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = []byte("eyJ") })
		},
		"the token removed": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Data, targetsecret.JWTKey) })
		},
		"all data removed": func(w *world) { w.editSecret("web", func(secret *corev1.Secret) { secret.Data = nil }) },
		"the record removed": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Annotations, v1alpha1.TokenIDAnnotation) })
		},
		"the record's expiry put off": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Annotations[v1alpha1.ExpiresAtAnnotation] = "2027-01-01T00:00:00Z" })
		},
		"the record's clock turned back": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Annotations[v1alpha1.ClockSkewAnnotation] = "-9999h" })
		},
		"the record's key changed": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Annotations[v1alpha1.KeyFingerprintAnnotation] = "0" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web", dressed))
				w.start()
				old := string(w.secret("web").Data[targetsecret.JWTKey])
				writes := w.api.Asked(call{Kind: "Secret", Name: "web"})
				change(w)
				w.settle()
				w.wantMints(2)
				w.wantValid("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
				if string(w.secret("web").Data[targetsecret.JWTKey]) == old {
					t.Error("the Secret still holds the old token")
				}
				if got := w.api.Asked(call{Kind: "Secret", Name: "web"}) - writes; got > 6 {
					t.Errorf("%d requests for the Secret", got)
				}
				w.pass(time.Hour)
				w.wantMints(2)
			})
		})
	}
}

// Nothing of the old token is lost while the new one is on its way, and both the request and its answer stand in status.
func TestARequestToRenewIsEchoed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		for i, value := range []string{"2026-01-01T00:00:00Z", "again", "2026-01-01T00:00:00Z", strings.Repeat("long", 100)} {
			w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, value))
			w.settle()
			w.wantMints(i + 2)
			got := w.token("web").Status.LastHandledRenewRequest
			if got != value && !strings.HasPrefix(got, "sha256:") || len(got) > maxRenewRequest {
				t.Errorf("%q was echoed as %q", value, got)
			}
		}
		w.edit("web", func(token *v1alpha1.ReactorToken) { token.Annotations = nil })
		w.settle()
		w.wantMints(5)
	})
}

func TestTheRestOfTheSecretIsRepairedWithoutAMint(t *testing.T) {
	edited := func(edit func(*corev1.Secret)) func(w *world) {
		return func(w *world) { w.editSecret("web", edit) }
	}
	for name, spoil := range map[string]func(w *world){
		"expires_at edited":         edited(func(s *corev1.Secret) { s.Data[targetsecret.ExpiresAtKey] = []byte("0") }),
		"expires_at removed":        edited(func(s *corev1.Secret) { delete(s.Data, targetsecret.ExpiresAtKey) }),
		"an additional key edited":  edited(func(s *corev1.Secret) { s.Data["token.json"] = []byte("{}") }),
		"an additional key removed": edited(func(s *corev1.Secret) { delete(s.Data, "token.env") }),
		"a label edited":            edited(func(s *corev1.Secret) { s.Labels["team"] = "other" }),
		"our own label removed":     edited(func(s *corev1.Secret) { delete(s.Labels, targetsecret.ManagedByLabel) }),
		"an annotation removed":     edited(func(s *corev1.Secret) { delete(s.Annotations, "example.com/team") }),
		"the owner removed":         edited(func(s *corev1.Secret) { s.OwnerReferences = nil }),
		"the owner's name removed":  edited(func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.TokenNameAnnotation) }),
		"a key added to the spec": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) {
				token.Spec.Secret.AdditionalKeys = append(token.Spec.Secret.AdditionalKeys, v1alpha1.AdditionalKey{Name: "header", Format: v1alpha1.FormatAuthorizationHeader})
			})
		},
		"a key, a label and an annotation removed from the spec": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) {
				token.Spec.Secret.AdditionalKeys = token.Spec.Secret.AdditionalKeys[:1]
				token.Spec.Secret.Labels, token.Spec.Secret.Annotations = nil, nil
			})
		},
		"retained from now on": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web", dressed))
				w.start()
				jwt := string(w.secret("web").Data[targetsecret.JWTKey])
				spoil(w)
				w.settle()
				w.wantAsAsked("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
				if w.count("web", "SecretRepaired") != 1 {
					t.Errorf("events %q", w.eventsOf("web"))
				}
				// The same once more, while the operator is away.
				w.stop()
				spoil(w)
				w.start()
				w.wantAsAsked("web")
				w.wantMints(1)
				if string(w.secret("web").Data[targetsecret.JWTKey]) != jwt {
					t.Error("the token in the Secret is another one")
				}
			})
		})
	}
}

// wantAsAsked checks that a Secret is as the ReactorToken that it names asks, and holds nothing of ours besides.
func (w *world) wantAsAsked(name string) {
	w.Helper()
	secret := w.secret(name)
	token := w.token(secret.Annotations[v1alpha1.TokenNameAnnotation])
	written := targetsecret.ReadRecord(secret.Annotations)
	if written == nil {
		w.Errorf("Secret %q has no record", name)
		return
	}
	desired := targetsecret.Build(token, targetsecret.JWT(secret), written, false)
	if !desired.SatisfiedBy(secret) {
		w.Errorf("Secret %q is not as it is to be: labels %v, annotations %v, %d keys", name, secret.Labels, secret.Annotations, len(secret.Data))
	}
	for key := range secret.Data {
		if _, ok := desired.Data[key]; !ok && key != "theirs" {
			w.Errorf("Secret %q still has the key %q", name, key)
		}
	}
	for label := range secret.Labels {
		if _, ok := desired.Labels[label]; !ok && label != "theirs" {
			w.Errorf("Secret %q still has the label %q", name, label)
		}
	}
}

func TestNoOtherEditMints(t *testing.T) {
	for name, edit := range map[string]func(w *world){
		"a label of the object": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) { token.Labels = map[string]string{"a": "b"} })
		},
		"an annotation of the object": func(w *world) { w.edit("web", annotate("example.com/a", "b")) },
		"a finalizer of the object": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) { token.Finalizers = []string{"example.com/a"} })
		},
		"a foreign key in the Secret": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) { secret.Data["theirs"] = []byte("kept") })
		},
		"a foreign label and annotation on the Secret": func(w *world) {
			w.editSecret("web", func(secret *corev1.Secret) {
				secret.Labels["theirs"], secret.Annotations["example.com/theirs"] = "kept", "kept"
			})
		},
		"a label of the key's Secret": func(w *world) {
			w.editSecret(keySecret, func(secret *corev1.Secret) { secret.Labels = map[string]string{"a": "b"} })
		},
		"another key in the key's Secret": func(w *world) {
			w.editSecret(keySecret, func(secret *corev1.Secret) { secret.Data["other"] = []byte("b") })
		},
		"white space around the key": func(w *world) { w.rotate(firstKey + "\n") },
		"a restart list":             func(w *world) { w.edit("web", restarts("web")) },
		"another Secret": func(w *world) {
			w.create(secretIn(namespace, "unrelated", "a", "b"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web", dressed))
				w.start()
				writes := w.api.Asked(call{Verb: "apply", Kind: "Secret"})
				edit(w)
				w.pass(time.Hour)
				w.wantMints(1)
				if got := w.api.Asked(call{Verb: "apply", Kind: "Secret"}); got != writes {
					t.Errorf("%d writes of the Secret", got-writes)
				}
				w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
				w.wantMints(2)
				w.wantAsAsked("web")
				secret := w.secret("web")
				if strings.HasPrefix(name, "a foreign") &&
					string(secret.Data["theirs"])+secret.Labels["theirs"]+secret.Annotations["example.com/theirs"] == "" {
					t.Error("what is not ours was removed by a renewal")
				}
			})
		})
	}
}

func restarts(name string) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) {
		token.Spec.Restart = []v1alpha1.WorkloadReference{{Kind: v1alpha1.KindDeployment, Name: name}}
	}
}

// A call to Reactor takes its time. What changes meanwhile is acted on by the next pass, and nothing is overwritten.
func TestWhatChangesDuringACallIsActedOnAfterIt(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *world)
		mints  int
	}{
		"the spec":               {func(w *world) { w.edit("web", lifetime("2h")) }, 2},
		"the key":                {func(w *world) { w.rotate(secondKey) }, 2},
		"a request to renew":     {func(w *world) { w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "now")) }, 2},
		"the name of the Secret": {func(w *world) { w.edit("web", writesTo("moved")) }, 2},
		"a suspension":           {func(w *world) { w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetFaults(emulator.Fault{Latency: 10 * time.Second, Times: 1})
				w.create(newToken("web"))
				w.start()
				test.change(w)
				w.pass(20 * time.Second)
				w.wantMints(test.mints)
				w.wantValid(w.token("web").TargetSecretName())
				w.wantAsAsked(w.token("web").TargetSecretName())
				w.want("web", "Ready=True/TokenValid")
				if token := w.token("web"); token.Status.ObservedGeneration != token.Generation {
					t.Errorf("generation %d, observed %d", token.Generation, token.Status.ObservedGeneration)
				}
			})
		})
	}
}

func TestAnObjectThatGoesDuringACallLeavesNothingBehind(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 10 * time.Second})
		w.create(newToken("web"))
		w.start()
		token := w.token("web")
		if err := w.api.Delete(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		w.pass(20 * time.Second)
		secret := w.secret("web")
		if secret == nil || !targetsecret.OwnedBy(secret.OwnerReferences, token.UID) {
			t.Fatal("garbage collection would not find the Secret")
		}
		w.remove(secret)
		w.pass(time.Hour)
		if w.secret("web") != nil {
			t.Error("the Secret came back")
		}
		w.wantMints(1)
		w.wantNoErrors()
	})
}
