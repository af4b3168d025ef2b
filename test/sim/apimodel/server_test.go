package apimodel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func secretNamed(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: name}, Data: map[string][]byte{"jwt": []byte("old")}}
}

func mustCreate(t *testing.T, api client.Client, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

func mustGet[T client.Object](t *testing.T, api client.Client, object T) T {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestTheHookSeesEveryRequestAndWhoAsks(t *testing.T) {
	s := New(Options{})
	var seen []Request
	s.SetHook(func(_ context.Context, asked Request, do func() error) error {
		if asked.Writes() == (asked.Sent == nil) {
			t.Errorf("%+v: want a body for writes only", asked)
		}
		asked.Sent = nil
		seen = append(seen, asked)
		return do()
	})
	api := s.Client("somebody")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: "p"}}
	mustCreate(t, api, pod)
	binding := &corev1.Binding{Target: corev1.ObjectReference{Name: "node"}}
	watched, err := api.Watch(t.Context(), &corev1.PodList{}, client.InNamespace("studio"))
	if err != nil {
		t.Fatal(err)
	}
	watched.Stop()
	lists := s.ListerWatcher(&v1alpha1.ReactorToken{}, WatchOptions{User: "an informer"})
	_, listed := lists.List(metav1.ListOptions{}) //nolint:staticcheck // whoever has no context calls it
	for _, err := range []error{
		api.SubResource("binding").Create(t.Context(), pod, binding),
		api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod),
		api.Update(t.Context(), pod),
		api.Status().Update(t.Context(), pod),
		api.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{}`))),
		api.List(t.Context(), &corev1.PodList{}),
		api.Delete(t.Context(), pod),
		listed,
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []Request{
		{"somebody", VerbCreate, "Pod", "", "studio", "p", nil},
		{"somebody", VerbWatch, "Pod", "", "studio", "", nil},
		{"an informer", VerbList, "ReactorToken", "", "", "", nil},
		{"somebody", VerbCreate, "Pod", "binding", "studio", "p", nil},
		{"somebody", VerbGet, "Pod", "", "studio", "p", nil},
		{"somebody", VerbUpdate, "Pod", "", "studio", "p", nil},
		{"somebody", VerbUpdate, "Pod", "status", "studio", "p", nil},
		{"somebody", VerbPatch, "Pod", "", "studio", "p", nil},
		{"somebody", VerbList, "Pod", "", "", "", nil},
		{"somebody", VerbDelete, "Pod", "", "studio", "p", nil},
	}
	if difference := cmp.Diff(want, seen); difference != "" {
		t.Errorf("the hook saw (-want +got):\n%s", difference)
	}
}

func TestARequestThatTheHookFailsTellsTheCallerNothing(t *testing.T) {
	lost := errors.New("the answer was lost")
	for name, c := range map[string]struct {
		serves bool
		stored string
	}{
		"what was served before the answer was lost is done": {true, "new"},
		"what was not served is not":                         {false, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{})
			api := s.Client("somebody")
			secret := secretNamed("s")
			mustCreate(t, api, secret)
			secret.Data["jwt"] = []byte("new")
			before := secret.DeepCopy()
			s.SetHook(func(_ context.Context, _ Request, do func() error) error {
				if c.serves {
					if err := do(); err != nil {
						return err
					}
				}
				return lost
			})
			if err := api.Update(t.Context(), secret); !errors.Is(err, lost) {
				t.Errorf("the error is %v", err)
			}
			if difference := cmp.Diff(before, secret); difference != "" {
				t.Errorf("the object that was sent has changed:\n%s", difference)
			}
			s.SetHook(nil)
			if got := string(mustGet(t, api, secretNamed("s")).Data["jwt"]); got != c.stored {
				t.Errorf("the Secret holds %q, want %q", got, c.stored)
			}
		})
	}
}

func TestARequestOfACallerThatIsGoneIsNotServed(t *testing.T) {
	s := New(Options{})
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := s.Client("somebody").Create(ctx, secretNamed("s")); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := s.Client("somebody").Get(t.Context(), client.ObjectKeyFromObject(secretNamed("s")), &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("it was created: %v", err)
	}
}

func TestNobodySharesMemoryWithTheStore(t *testing.T) {
	s := New(Options{})
	api := s.Client("somebody")
	created := secretNamed("s")
	mustCreate(t, api, created)
	watched, err := api.Watch(t.Context(), &corev1.SecretList{})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Stop()
	list := &corev1.SecretList{}
	if err := api.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	happened := <-watched.ResultChan()
	for _, secret := range []*corev1.Secret{created, mustGet(t, api, secretNamed("s")), &list.Items[0], happened.Object.(*corev1.Secret)} {
		copy(secret.Data["jwt"], "xxx")
		secret.ManagedFields[0].Manager = "xxx"
	}
	got := mustGet(t, api, secretNamed("s"))
	if string(got.Data["jwt"]) != "old" || got.ManagedFields[0].Manager != "somebody" {
		t.Errorf("the store has %s, of %s", got.Data["jwt"], got.ManagedFields[0].Manager)
	}
}

func TestTimesComeFromTheClockInWholeSeconds(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789, time.UTC)
	s := New(Options{})
	s.clock = clocktesting.NewFakePassiveClock(at)
	token := tokenNamed("t")
	token.Finalizers = []string{"example.com/hold"}
	mustCreate(t, s.Client("somebody"), token)
	if err := s.Client("somebody").Delete(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	got, want := mustGet(t, s.Client("somebody"), tokenNamed("t")), at.Truncate(time.Second)
	if !got.CreationTimestamp.Time.Equal(want) || !got.DeletionTimestamp.Time.Equal(want) {
		t.Errorf("created %s, deleted %s, want %s", got.CreationTimestamp, got.DeletionTimestamp, want)
	}
}

func TestANameIsGeneratedFromTheUID(t *testing.T) {
	s := New(Options{})
	s.uid = func() types.UID { return "0a1b2c3d-0000-4000-8000-000000000000" }
	secret := secretNamed("")
	secret.GenerateName = "some-"
	mustCreate(t, s.Client("somebody"), secret)
	if secret.Name != "some-0a1b2" {
		t.Errorf("the name is %q", secret.Name)
	}
}

func TestAListComesInPages(t *testing.T) {
	api := New(Options{}).Client("somebody")
	mustCreate(t, api, secretNamed("c"), secretNamed("a"), secretNamed("b"), secretNamed("d"), secretNamed("e"))
	var pages [][]string
	list := &corev1.SecretList{}
	for {
		if err := api.List(t.Context(), list, client.Limit(2), client.Continue(list.Continue)); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, secret := range list.Items {
			names = append(names, secret.Name)
		}
		pages = append(pages, names)
		if list.Continue == "" {
			break
		}
	}
	if difference := cmp.Diff([][]string{{"a", "b"}, {"c", "d"}, {"e"}}, pages); difference != "" {
		t.Errorf("the pages (-want +got):\n%s", difference)
	}
}

func TestWhatTheModelDoesNotDoIsRefused(t *testing.T) {
	s := New(Options{})
	api := s.Client("somebody")
	secret, pod := secretNamed("s"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: "p"}}
	mustCreate(t, api, secret, pod)
	atVersion := &metav1.GetOptions{ResourceVersion: "1"}
	for name, c := range map[string]struct {
		got, want error
	}{
		"another kind":                {api.Get(t.Context(), client.ObjectKeyFromObject(secret), &corev1.ConfigMap{}), errUnknownKind},
		"a deletion of a collection":  {api.DeleteAllOf(t.Context(), secret), errUnsupported},
		"a dry run":                   {api.Update(t.Context(), secret, client.DryRunAll), errUnsupported},
		"a read at a resourceVersion": {api.Get(t.Context(), client.ObjectKeyFromObject(secret), secret, &client.GetOptions{Raw: atVersion}), errUnsupported},
		"another subresource":         {api.SubResource("eviction").Create(t.Context(), pod, &corev1.Binding{}), errUnsupported},
		"a read of a subresource":     {api.SubResource("status").Get(t.Context(), pod, &corev1.Pod{}), errUnsupported},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: the error is %v, want %v", name, c.got, c.want)
		}
	}
}

func TestAWatchFromBeforeTheHistoryHasExpired(t *testing.T) {
	s := New(Options{})
	api := s.Client("somebody")
	secret := secretNamed("s")
	mustCreate(t, api, secret)
	first := secret.ResourceVersion
	from := func(version string) error {
		opened, err := api.Watch(t.Context(), &corev1.SecretList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err == nil {
			opened.Stop()
		}
		return err
	}
	for i := range 2 * longestHistory {
		secret.Labels = map[string]string{"turn": versionText(uint64(i))}
		if err := api.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	if err := from(first); !apierrors.IsResourceExpired(err) {
		t.Errorf("from the first version on: %v", err)
	}
	if err := from(secret.ResourceVersion); err != nil {
		t.Errorf("from the last version on: %v", err)
	}
	s.BreakWatches()
	if err := from(secret.ResourceVersion); !apierrors.IsResourceExpired(err) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestAWatchEndsWithItsContextAndWithTheServer(t *testing.T) {
	for name, end := range map[string]func(*Server, context.CancelFunc, watch.Interface){
		"its context": func(_ *Server, end context.CancelFunc, _ watch.Interface) { end() },
		"the server":  func(s *Server, _ context.CancelFunc, _ watch.Interface) { s.BreakWatches() },
		"its reader":  func(_ *Server, _ context.CancelFunc, w watch.Interface) { w.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which fails when a goroutine is left
				s := New(Options{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				lists := s.ListerWatcher(&corev1.Secret{}, WatchOptions{User: "u", Lag: func(string) time.Duration { return time.Hour }})
				opened, err := lists.(*listerWatcher).WatchWithContext(ctx, metav1.ListOptions{ResourceVersion: "1"})
				if err != nil {
					t.Fatal(err)
				}
				mustCreate(t, s.Client("somebody"), secretNamed("s"))
				end(s, cancel, opened)
				if happened, open := <-opened.ResultChan(); open {
					t.Errorf("after the end came %v", happened)
				}
				if waited := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); waited != 0 {
					t.Errorf("the watch ended after %s", waited)
				}
			})
		})
	}
}

func TestRestoredObjectsKeepWhatTheServerSets(t *testing.T) {
	before := New(Options{})
	token := tokenNamed("kept")
	mustCreate(t, before.Client("people"), token, tokenNamed("later"))
	token.Status.SecretName = "written"
	if err := before.Client("operator").Status().Update(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	after := New(Options{})
	if err := after.Restore(token); err != nil {
		t.Fatal(err)
	}
	people := after.Client("people")
	restored := mustGet(t, people, tokenNamed("kept"))
	if diff := cmp.Diff(token, restored); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	restored.Spec.APIKeySecretRef.Name = "other"
	if err := people.Update(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	if restored.Generation != 2 || version(restored.ResourceVersion) <= version(token.ResourceVersion) {
		t.Errorf("after an update: generation %d, resourceVersion %s after %s", restored.Generation, restored.ResourceVersion, token.ResourceVersion)
	}
}
