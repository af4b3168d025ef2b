package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// writes are what the judge knows of the Secrets.
type writes struct {
	ours     map[types.UID]bool // those that the operator created
	disowned map[types.UID]bool // those that people took the owner reference off, which may stay when their ReactorToken goes
}

func newWrites() writes { return writes{ours: map[types.UID]bool{}, disowned: map[types.UID]bool{}} }

// disown notes that people take the owner reference off a Secret.
func (j *judge) disown(secret types.UID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes.disowned[secret] = true
}

// theirs is a key, a label and an annotation that people put onto Secrets. Nobody else may touch them.
const theirs = "example.com-theirs"

// beforeWrite is what a write of the operator is going to change; nil when there is none.
func (j *judge) beforeWrite(asked apimodel.Request) client.Object {
	switch asked.Kind {
	case "Secret":
		if secret := j.world.secret(asked.Name); secret != nil {
			return secret
		}
	case "Pod":
		if pod := j.world.pod(asked.Name); pod != nil {
			return pod
		}
	}
	return nil
}

// afterWrite judges what a write of the operator changed.
func (j *judge) afterWrite(asked apimodel.Request, before client.Object) {
	if asked.Kind == "Secret" {
		after := j.world.secret(asked.Name)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.checkSecretWrite(asked, before, after)
		return
	}
	text := j.world.textOf(asked)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.checkSecrecy(asked.Kind+" "+asked.Name, text)
	if asked.Kind == "ReactorToken" && asked.Subresource == "status" {
		token := j.world.token(asked.Name)
		if token == nil {
			return
		}
		if secret := j.world.secret(token.TargetSecretName()); j.isJudged(token, secret) {
			j.checkTruth(token, secret)
			j.checkRefusedWrite(token)
		}
	}
	if asked.Kind == "ReactorToken" && asked.Verb == apimodel.VerbCreate && !isToken(asked.Name) {
		j.checkTokenRequest(asked.Name)
	}
	if pod, ok := before.(*corev1.Pod); ok {
		if asked.Verb == "delete" {
			j.checkPodStop(pod)
		} else {
			j.checkPodWrite(pod, j.world.pod(asked.Name))
		}
	}
}

// checkSecretWrite judges a write of a Secret. before is nil when there was none.
func (j *judge) checkSecretWrite(asked apimodel.Request, before client.Object, after *corev1.Secret) {
	was, existed := before.(*corev1.Secret)
	j.checkWhatSecretTells(after)
	switch {
	case !existed && after != nil:
		j.writes.ours[after.UID] = true
		return
	case !existed:
		return
	case !j.writes.ours[was.UID] && was.Annotations[v1alpha1.AllowAdoptionByAnnotation] == "" && (after == nil || after.ResourceVersion != was.ResourceVersion):
		j.broken(ruleForeign, "%s of Secret %s, which is somebody else's", asked.Verb, was.Name)
	case !j.writes.ours[was.UID] && after == nil:
		j.broken(ruleForeign, "Secret %s is deleted, which was only lent", was.Name)
	case after != nil && (!bytes.Equal(after.Data[theirs], was.Data[theirs]) || after.Labels[theirs] != was.Labels[theirs] || after.Annotations[theirs] != was.Annotations[theirs]):
		j.broken(ruleForeign, "%s of Secret %s changes what is not the operator's in it", asked.Verb, was.Name)
	}
}

// checkWhatSecretTells judges what a Secret tells besides its token: more people may list Secrets' metadata than read them, and no key belongs
// beside a token.
func (j *judge) checkWhatSecretTells(secret *corev1.Secret) {
	if secret == nil {
		return
	}
	text, err := json.Marshal(secret.ObjectMeta)
	if err != nil {
		panic(err)
	}
	j.checkSecrecy("the metadata of Secret "+secret.Name, string(text))
	for name, value := range secret.Data {
		for _, key := range append(slices.Clone(goodKeys), badKey) { // whole ones: a token may hold the letters rk_
			if bytes.Contains(value, []byte(key)) {
				j.broken(ruleSecrecy, "Secret %s tells an API key in %s", secret.Name, name)
			}
		}
	}
}

// textOf is an object as anybody may read it who may not read Secrets; empty when it is gone.
func (w *world) textOf(asked apimodel.Request) string {
	object := kindOf(asked.Kind)
	if object == nil || w.people.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: asked.Name}, object) != nil {
		return ""
	}
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// isOurs reports whether the operator created a Secret.
func (j *judge) isOurs(uid types.UID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.writes.ours[uid]
}
