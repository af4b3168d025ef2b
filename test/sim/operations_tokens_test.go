package sim

import (
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// tokenOperations are what people do to ReactorTokens.
var tokenOperations = []operation{
	{"create token", 4, func(d dice) step { return step{On: d.one(tokenNames...), How: d.one(lifetimes...)} }, (*world).createToken},
	{"delete token", 2, onToken, func(w *world, s step) {
		w.judge.strike(ofToken(s.On), s.Do, afterChange)
		w.remove(&v1alpha1.ReactorToken{ObjectMeta: objectMeta(s.On)})
	}},
	{"edit lifetime", 2, func(d dice) step { return step{On: d.one(tokenNames...), How: d.one(lifetimes...)} }, func(w *world, s step) {
		w.editToken(s, true, func(t *v1alpha1.ReactorToken) { t.Spec.Lifetime = v1alpha1.Duration(s.How) })
	}},
	{"edit scope", 2, onToken, func(w *world, s step) {
		w.editToken(s, true, func(t *v1alpha1.ReactorToken) { t.Spec.Scope.MaxSessions = int32(4 + w.next()%400) })
	}},
	{"rename target", 1, onToken, (*world).renameTarget},
	{"use another key", 1, func(d dice) step { return step{On: d.one(tokenNames...), How: d.one(keySecrets...)} }, func(w *world, s step) {
		token := w.token(s.On)
		another := token != nil && w.keyIn(token.Spec.APIKeySecretRef.Name) != w.keyIn(s.How) // the same key in another Secret costs nothing
		w.editToken(s, another, func(t *v1alpha1.ReactorToken) { t.Spec.APIKeySecretRef.Name = s.How })
	}},
	{"edit additional keys", 1, onToken, func(w *world, s step) {
		w.editToken(s, false, func(t *v1alpha1.ReactorToken) {
			t.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{{Name: fmt.Sprintf("token-%d.json", w.next()), Format: v1alpha1.FormatJSON}}
		})
	}},
	{"edit renewBefore", 1, onTokenHow("40s", "5m"), func(w *world, s step) {
		w.judge.ownRenewal(s.On)
		w.editToken(s, false, func(t *v1alpha1.ReactorToken) { t.Spec.RenewBefore = v1alpha1.Duration(s.How) })
	}},
	{"suspend token", 1, onToken, func(w *world, s step) {
		w.editToken(s, false, func(t *v1alpha1.ReactorToken) { t.Spec.Suspend = new(true) })
	}},
	{"resume token", 2, onToken, func(w *world, s step) {
		w.editToken(s, false, func(t *v1alpha1.ReactorToken) { t.Spec.Suspend = nil })
	}},
	{"request renewal", 2, onToken, (*world).requestRenewal},
	{"edit metadata", 1, onToken, func(w *world, s step) { // which must not cost anything
		edit(w, &v1alpha1.ReactorToken{ObjectMeta: objectMeta(s.On)}, func(t *v1alpha1.ReactorToken) {
			t.Labels = map[string]string{"edit": fmt.Sprint(w.next())}
			t.Annotations = with(t.Annotations, "example.com/edit", fmt.Sprint(w.next()))
		})
	}},
}

func with(annotations map[string]string, name, value string) map[string]string {
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[name] = value
	return annotations
}

func (w *world) createToken(s step) {
	if w.create(newToken(s.On, s.How)) {
		w.judge.begin(s.On)
		w.judge.cause("created", s.On)
	}
}

// editToken changes a ReactorToken. What is asked for is another token, or the same.
func (w *world) editToken(s step, another bool, change func(*v1alpha1.ReactorToken)) {
	token := w.token(s.On)
	if token == nil {
		return
	}
	before := token.Generation
	if !edit(w, token, change) || token.Generation == before {
		return
	}
	if another {
		w.judge.cause(s.Do, s.On)
	} else {
		w.judge.strike(ofToken(s.On), s.Do, afterChange)
	}
}

// renameTarget has the token written elsewhere. It costs one, and is the same request.
func (w *world) renameTarget(s step) {
	token := w.token(s.On)
	if token == nil {
		return
	}
	w.judge.causeWithout(s.Do, s.On)
	edit(w, token, func(t *v1alpha1.ReactorToken) { t.Spec.Secret.Name = fmt.Sprintf("%s-%d", t.Name, w.next()) })
}

func (w *world) requestRenewal(s step) {
	request := func(t *v1alpha1.ReactorToken) {
		t.Annotations = with(t.Annotations, v1alpha1.RenewRequestedAtAnnotation, fmt.Sprint(w.next()))
	}
	if w.token(s.On) != nil && edit(w, &v1alpha1.ReactorToken{ObjectMeta: objectMeta(s.On)}, request) {
		w.judge.cause(s.Do, s.On)
	}
}

// keyOperations are what people do to API keys.
var keyOperations = []operation{
	{"put key", 5, func(d dice) step { return step{On: d.one(keySecrets...), Count: d.IntN(len(goodKeys) + 1)} }, func(w *world, s step) {
		if s.Count == len(goodKeys) {
			w.putKey(s.On, badKey)
		} else {
			w.putKey(s.On, goodKeys[s.Count])
		}
	}},
	{"put three keys", 1, onKey, func(w *world, s step) { // which cost one mint; a key that was missing is used at once, and those after it cost one
		keys := []string{goodKeys[1], goodKeys[0], goodKeys[2]}
		if w.keyIn(s.On) == keys[2] {
			keys[2] = goodKeys[1]
		}
		w.judge.cause(s.Do, w.tokensWith(s.On)...)
		if w.keyIn(s.On) == "" {
			w.judge.cause("a key that was missing", w.tokensWith(s.On)...)
		}
		w.judge.calm(ofKey(s.On), "no good key", afterChange)
		for _, key := range keys {
			w.writeKey(s.On, key)
			time.Sleep(100 * time.Millisecond)
		}
	}},
	{"remove key", 1, onKey, func(w *world, s step) {
		w.judge.hinder(ofKey(s.On), "no good key")
		w.remove(keySecretWith(s.On, ""))
	}},
	{"revoke key", 2, func(d dice) step {
		return step{Count: d.IntN(len(goodKeys)), For: d.between(time.Minute, 40*time.Minute)}
	}, (*world).revoke},
}

func (w *world) writeKey(name, key string) {
	if !w.create(keySecretWith(name, key)) {
		edit(w, keySecretWith(name, key), func(secret *secretType) { secret.Data = keySecretWith(name, key).Data })
	}
}

// putKey puts a key into a Secret.
func (w *world) putKey(name, key string) {
	if w.keyIn(name) == key {
		return
	}
	if key == badKey {
		w.judge.hinder(ofKey(name), "no good key")
	} else {
		w.judge.cause("another key", w.tokensWith(name)...)
		w.judge.calm(ofKey(name), "no good key", afterChange)
	}
	w.writeKey(name, key)
}

// revoke makes a key unknown to Reactor for a while.
func (w *world) revoke(s step) {
	why := fmt.Sprintf("key %d revoked", s.Count)
	for _, name := range keySecrets {
		w.judge.hinder(ofKey(name), why)
	}
	w.reactor.RevokeKey(goodKeys[s.Count])
	w.later(s.For, func() {
		w.reactor.AddKey(goodKeys[s.Count])
		w.later(afterRefused(s.For), func() {
			for _, name := range keySecrets {
				w.judge.calm(ofKey(name), why, 0)
			}
		})
	})
}
