package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// crowd is how many tokens stay valid over the restarts.
const crowd = 200

func TestARestartWithValidTokensCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	for i := range crowd {
		w.create(crowdName(i))
	}
	w.waitForCrowd()
	w.settle(first)
	first.kill()
	before, ledger, mark := w.versions(), w.mints(), w.api.mark()

	second := w.start()
	second.waitUntilIdle(crowd)
	w.settle(second)
	second.kill()
	if mints := w.mints() - ledger; mints != 0 {
		t.Errorf("the restart cost %d mints", mints)
	}
	if writes := w.api.since(mark, func(r request) bool { return r.isWrite() && !isFence(r.name) }); len(writes) > 0 {
		t.Errorf("the restart cost %d writes, such as %s", len(writes), writes[0])
	}
	if diff := cmp.Diff(before, w.versions()); diff != "" {
		t.Errorf("versions before and after the restart (-before +after):\n%s", diff)
	}

	// What was done to two of them while no operator was there is mended, and nothing else.
	edited, deleted := crowdName(3), crowdName(5)
	w.editSecret(edited, func(secret *corev1.Secret) { secret.Data["jwt"] = []byte("something else") })
	w.deleteObject(w.secret(deleted))
	third := w.start()
	third.waitUntilIdle(crowd)
	w.waitForCrowd()
	w.settle(third)
	if mints := w.mints() - ledger; mints != 2 {
		t.Errorf("mending two tokens cost %d mints", mints)
	}
	var changed []string
	after := w.versions()
	for _, object := range slices.Sorted(maps.Keys(after)) {
		if before[object] != after[object] {
			changed = append(changed, object)
		}
	}
	want := []string{"ReactorToken " + edited, "ReactorToken " + deleted, "Secret " + edited, "Secret " + deleted}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changed by the third operator (-want +got):\n%s", diff)
	}
}

func crowdName(i int) string { return fmt.Sprintf("web-%03d", i) }

// waitForCrowd waits until all of the crowd have valid tokens.
func (w *world) waitForCrowd() {
	w.t.Helper()
	expect.Eventually(w.t, "valid tokens for all", func() error {
		tokens, secrets := &v1alpha1.ReactorTokenList{}, &corev1.SecretList{}
		for _, list := range []client.ObjectList{tokens, secrets} {
			if err := w.kube.List(w.t.Context(), list, client.InNamespace(w.namespace)); err != nil {
				return err
			}
		}
		byName := map[string]*corev1.Secret{}
		for i := range secrets.Items {
			byName[secrets.Items[i].Name] = &secrets.Items[i]
		}
		for i := range tokens.Items {
			token := &tokens.Items[i]
			secret := byName[token.Name]
			if isFence(token.Name) {
				continue
			}
			if secret == nil {
				return fmt.Errorf("%s has no Secret", token.Name)
			}
			if err := w.checkSecret(secret); err != nil {
				return fmt.Errorf("%s: %w", token.Name, err)
			}
			if err := w.checkStatus(token, secret); err != nil {
				return fmt.Errorf("%s: %w", token.Name, err)
			}
		}
		return nil
	})
}

// versions are the resourceVersions of all Secrets and ReactorTokens of the world, the fences apart.
func (w *world) versions() map[string]string {
	w.t.Helper()
	tokens, secrets := &v1alpha1.ReactorTokenList{}, &corev1.SecretList{}
	for _, list := range []client.ObjectList{tokens, secrets} {
		if err := w.kube.List(w.t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			w.t.Fatal(err)
		}
	}
	found := map[string]string{}
	for i := range tokens.Items {
		found["ReactorToken "+tokens.Items[i].Name] = tokens.Items[i].ResourceVersion
	}
	for i := range secrets.Items {
		found["Secret "+secrets.Items[i].Name] = secrets.Items[i].ResourceVersion
	}
	maps.DeleteFunc(found, func(object, _ string) bool { return isFence(strings.Fields(object)[1]) })
	return found
}
