package sim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

type secretType = corev1.Secret

// secretOperations are what people do to the Secrets that hold tokens, and to those that stand where a token is to go.
var secretOperations = []operation{
	{"delete Secret", 3, onToken, func(w *world, s step) {
		if secret := w.written(s.On); secret != nil {
			w.judge.causeWithout(s.Do, s.On)
			w.remove(secret)
		}
	}},
	{"edit Secret", 6, onTokenHow("jwt", "record", "label", "expires_at", "theirs", "owner"), (*world).editSecret},
	{"fight", 1, func(d dice) step {
		return step{On: d.one(tokenNames...), How: d.one("label", "jwt"), For: d.between(time.Minute, 10*time.Minute)}
	}, (*world).fight},
	{"put a Secret in the way", 2, onTokenHow("silent", "consents"), (*world).block},
	{"clear the way", 3, onToken, (*world).unblock},
}

// written is the Secret that the operator wrote for a ReactorToken of people's; nil when there is none.
func (w *world) written(token string) *corev1.Secret {
	found := w.token(token)
	if found == nil {
		return nil
	}
	secret := w.secret(found.TargetSecretName())
	if secret == nil || secret.DeletionTimestamp != nil || secret.Annotations[v1alpha1.TokenUIDAnnotation] != string(found.UID) {
		return nil
	}
	return secret
}

// changes are the ways in which people edit a Secret, and whether that costs a token.
var changes = map[string]struct {
	costs  bool
	change func(*corev1.Secret)
}{
	"jwt":        {true, func(s *corev1.Secret) { s.Data["jwt"] = []byte("edited") }},
	"record":     {true, func(s *corev1.Secret) { s.Annotations[v1alpha1.ExpiresAtAnnotation] = "2031-01-01T00:00:00Z" }},
	"label":      {false, func(s *corev1.Secret) { s.Labels = map[string]string{} }},
	"expires_at": {false, func(s *corev1.Secret) { s.Data["expires_at"] = []byte("1") }},
	"owner":      {false, func(s *corev1.Secret) { s.OwnerReferences = nil }},
	"theirs": {false, func(s *corev1.Secret) {
		s.Data[theirs], s.Labels, s.Annotations = []byte("theirs"), with(s.Labels, theirs, "theirs"), with(s.Annotations, theirs, "theirs")
	}},
}

func (w *world) editSecret(s step) {
	secret := w.written(s.On)
	if secret == nil {
		return
	}
	if s.How == "owner" {
		w.judge.disown(secret.UID)
	}
	how := changes[s.How]
	if how.costs {
		w.judge.causeWithout(s.Do, s.On)
		w.judge.edited(s.On, secret)
	} else {
		w.judge.strike(ofToken(s.On), s.Do, afterChange)
	}
	edit(w, secret, how.change)
}

// fight edits a Secret again and again.
func (w *world) fight(s step) {
	const every = 4 * time.Second
	why := fmt.Sprintf("a fight (%d)", w.next())
	w.judge.hinder(ofToken(s.On), why)
	end := time.Now().Add(s.For)
	go func() {
		for time.Now().Before(end) && w.power.Err() == nil && !w.peace.Load() {
			w.editSecret(s)
			time.Sleep(every)
		}
		w.judge.calm(ofToken(s.On), why, (mintBudget+1)*mintRefill) // until its budgets are full again
	}()
}

// block puts somebody else's Secret where a ReactorToken wants to write, if there is none.
func (w *world) block(s step) {
	name := s.On
	if token := w.token(s.On); token != nil {
		name = token.TargetSecretName()
	}
	secret := &corev1.Secret{ObjectMeta: objectMeta(name), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{theirs: []byte("theirs")}}
	secret.Labels = map[string]string{theirs: "theirs"}
	secret.Annotations = map[string]string{theirs: "theirs"}
	if s.How == "consents" {
		secret.Annotations[v1alpha1.AllowAdoptionByAnnotation] = s.On
	}
	if w.create(secret) {
		w.judge.causeWithout(s.Do, s.On)
		if s.How == "silent" {
			w.judge.hinder(ofToken(s.On), "a Secret in the way")
		}
	}
}

// unblock takes such Secrets away.
func (w *world) unblock(s step) {
	secrets := &corev1.SecretList{}
	if err := w.people.List(w.power, secrets); err != nil {
		return
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		mine := secret.Name == s.On || len(secret.Name) > len(s.On) && secret.Name[:len(s.On)+1] == s.On+"-"
		if mine && secret.Labels[theirs] != "" && !w.judge.isOurs(secret.UID) && w.remove(secret) {
			w.judge.causeWithout(s.Do, s.On)
		}
	}
	w.judge.calm(ofToken(s.On), "a Secret in the way", afterChange)
}
