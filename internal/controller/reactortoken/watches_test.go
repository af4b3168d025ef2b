package reactortoken

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
)

func TestWhatTriggersAReconcile(t *testing.T) {
	tests := []struct {
		name   string
		change func(*v1alpha1.ReactorToken)
		want   bool
	}{
		{"another spec", func(token *v1alpha1.ReactorToken) { token.Generation = 2 }, true},
		{"a request to renew", annotate(v1alpha1.RenewRequestedAtAnnotation, "now"), true},
		{"another request to renew", annotate(v1alpha1.RenewRequestedAtAnnotation, "then"), true},
		{"its deletion", func(token *v1alpha1.ReactorToken) { token.DeletionTimestamp = new(metav1.NewTime(noon)) }, true},
		{"another object of its name", func(token *v1alpha1.ReactorToken) { token.UID = "another" }, true},
		{"nothing, in a resync", func(*v1alpha1.ReactorToken) {}, false},
		{"our own status", func(token *v1alpha1.ReactorToken) { token.ResourceVersion, token.Status.SecretName = "2", "web" }, false},
		{"a label", func(token *v1alpha1.ReactorToken) { token.Labels = map[string]string{"a": "b"} }, false},
		{"another annotation", annotate("example.com/a", "b"), false},
		{"a finalizer", func(token *v1alpha1.ReactorToken) { token.Finalizers = []string{"example.com/a"} }, false},
		{"an owner", func(token *v1alpha1.ReactorToken) { token.OwnerReferences = []metav1.OwnerReference{{}} }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			after := aToken()
			test.change(after)
			if got := tokenPredicate().Update(event.UpdateEvent{ObjectOld: aToken(), ObjectNew: after}); got != test.want {
				t.Errorf("wakes: %v, want %v", got, test.want)
			}
		})
	}
	if !tokenPredicate().Create(event.CreateEvent{Object: aToken()}) || !tokenPredicate().Delete(event.DeleteEvent{Object: aToken()}) {
		t.Error("creation and deletion must wake")
	}
}

// Metadata can hold payloads, and there may be thousands of foreign Secrets: only what a decision looks at is kept.
func TestOnlyWhatIsNeededOfASecretIsCached(t *testing.T) {
	meta := secretMetadata()
	meta.ObjectMeta = metav1.ObjectMeta{
		Namespace: namespace, Name: "web", UID: "u", ResourceVersion: "7", Generation: 3, GenerateName: "g-",
		CreationTimestamp: metav1.NewTime(noon), DeletionTimestamp: new(metav1.NewTime(noon)), DeletionGracePeriodSeconds: new(int64(3)),
		Labels: map[string]string{"a": "b"}, Finalizers: []string{"f"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		OwnerReferences: []metav1.OwnerReference{{UID: "o"}},
		Annotations: map[string]string{
			"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"jwt":"…"}}`, "reactor.inc/token-id": "t", "reactor.inc.evil.test/x": "x",
		},
	}
	want := secretMetadata()
	want.ObjectMeta = metav1.ObjectMeta{
		Namespace: namespace, Name: "web", UID: "u", ResourceVersion: "7", DeletionTimestamp: meta.DeletionTimestamp,
		OwnerReferences: []metav1.OwnerReference{{UID: "o"}}, Annotations: map[string]string{"reactor.inc/token-id": "t"},
	}
	got, err := keepNeeded(meta)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cached (-want +got):\n%s", diff)
	}
	foreign := secretMetadata()
	foreign.Annotations = map[string]string{"a": "b"}
	if got, _ := keepNeeded(foreign); got.(*metav1.PartialObjectMetadata).Annotations != nil {
		t.Error("an empty map is kept for each foreign Secret")
	}
	if got, err := keepNeeded("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("something else becomes %v, %v", got, err)
	}
}

func TestSecretsThatAreNeverOursAreNotWatched(t *testing.T) {
	for kind, want := range map[string]bool{
		"Opaque": true, "kubernetes.io/tls": true, "helm.sh/release.v1": false, "kubernetes.io/service-account-token": false,
	} {
		if got := SecretCache().Field.Matches(fields.Set{"type": kind}); got != want {
			t.Errorf("a Secret of type %s is watched: %v", kind, got)
		}
	}
}

func TestWhichObjectsASecretTriggers(t *testing.T) {
	scheme := newAPI(t).Scheme()
	cached := fake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&v1alpha1.ReactorToken{}, indexAPIKey, apiKeySecretOf).
		WithIndex(&v1alpha1.ReactorToken{}, indexTarget, unlessOwnName(targetSecretOf)).
		WithObjects(newToken("web"), newToken("other", withOtherKey), newToken("third", writesTo("shared")), newToken("fourth", writesTo("shared"))).
		Build()
	r := &Reconciler{cache: cached}
	written := func(name, by string) client.Object {
		secret := secretNamed("web")
		secret.Namespace, secret.Name, secret.ResourceVersion = namespace, name, "2"
		if by != "" {
			secret.Annotations[v1alpha1.TokenNameAnnotation] = by
		}
		return secret
	}
	older := func(object client.Object) client.Object {
		before := object.DeepCopyObject().(client.Object)
		before.SetResourceVersion("1")
		return before
	}
	tests := []struct {
		name    string
		happens func(ctx context.Context, h handler.EventHandler, q queue)
		want    []string
	}{
		{"a target that was created", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("shared", "")}, q)
		}, []string{"fourth", "third"}},
		{"a target that has the name of its object", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("web", "")}, q)
		}, []string{"web"}},
		{"a Secret with the name of an object that writes another", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("third", "")}, q)
		}, nil},
		{"a target that was deleted", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Delete(ctx, event.DeleteEvent{Object: written("shared", "")}, q)
		}, []string{"fourth", "third"}},
		{"the Secret of a key that was created", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written(keySecret, "")}, q)
		}, []string{"fourth", "third", "web"}},
		{"the Secret of a key that was deleted", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Delete(ctx, event.DeleteEvent{Object: written(otherKeySecret, "")}, q)
		}, []string{"other"}},
		{"a Secret of an earlier name", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("earlier", "web")}, q)
		}, []string{"web"}},
		{"a Secret of an object that is gone", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("earlier", "gone"), IsInInitialList: true}, q)
		}, []string{"gone"}},
		{"a Secret of the initial list", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("shared", ""), IsInInitialList: true}, q)
		}, nil},
		{"a target that was changed", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: older(written("web", "")), ObjectNew: written("web", "")}, q)
		}, []string{"web"}},
		{"a Secret that lost its writer's name", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: older(written("x", "web")), ObjectNew: written("x", "")}, q)
		}, []string{"web"}},
		{"a resync", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: written("web", ""), ObjectNew: written("web", "")}, q)
		}, nil},
		{"the Secret of a key that was changed, after a second", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Update(ctx, event.UpdateEvent{ObjectOld: older(written(otherKeySecret, "")), ObjectNew: written(otherKeySecret, "")}, q)
		}, nil},
		{"a foreign Secret", func(ctx context.Context, h handler.EventHandler, q queue) {
			h.Create(ctx, event.CreateEvent{Object: written("unrelated", "")}, q)
		}, nil},
		{"a Secret of another namespace", func(ctx context.Context, h handler.EventHandler, q queue) {
			secret := written("shared", "")
			secret.SetNamespace("elsewhere")
			h.Create(ctx, event.CreateEvent{Object: secret}, q)
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
			defer q.ShutDown()
			test.happens(t.Context(), r.secretHandler(), q)
			if diff := cmp.Diff(test.want, queued(q)); diff != "" {
				t.Errorf("woken (-want +got):\n%s", diff)
			}
		})
	}
}

// The pods of a Secret that is gone have no token: they must not wait behind all that share a rotated key.
func TestADeletedTargetIsUrgent(t *testing.T) {
	cached := fake.NewClientBuilder().WithScheme(newAPI(t).Scheme()).
		WithIndex(&v1alpha1.ReactorToken{}, indexAPIKey, apiKeySecretOf).
		WithIndex(&v1alpha1.ReactorToken{}, indexTarget, unlessOwnName(targetSecretOf)).
		WithObjects(newToken("web"), newToken("other", withOtherKey)).
		Build()
	r := &Reconciler{cache: cached}
	q := priorityqueue.New[reconcile.Request]("urgent")
	defer q.ShutDown()
	gone := secretNamed("web")
	gone.Namespace, gone.Name = namespace, "web"
	key := secretNamed("web")
	key.Namespace, key.Name = namespace, otherKeySecret
	r.secretHandler().Delete(t.Context(), event.DeleteEvent{Object: key}, q)
	r.secretHandler().Delete(t.Context(), event.DeleteEvent{Object: gone}, q)
	got := map[string]int{}
	for range 2 {
		request, priority, _ := q.GetWithPriority()
		got[request.Name] = priority
	}
	if diff := cmp.Diff(map[string]int{"web": mintqueue.RequeueUrgent, "other": mintqueue.RequeueRegular}, got); diff != "" {
		t.Errorf("priorities (-want +got):\n%s", diff)
	}
}

// queued are the names that are in the queue now.
func queued(q queue) []string {
	var names []string
	for range q.Len() {
		request, _ := q.Get()
		names = append(names, request.Name)
		q.Done(request)
	}
	slices.Sort(names)
	return names
}

func TestNoObjectIsRequeuedBeforeTheControllerRuns(t *testing.T) {
	r := &Reconciler{}
	r.requeue(mintqueue.RequeueSlot, objectNamed("web")) // must not panic
	q := priorityqueue.New[reconcile.Request]("woken")
	defer q.ShutDown()
	if err := r.captureQueue(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	r.requeue(mintqueue.RequeueRegular, objectNamed("web"))
	r.requeue(mintqueue.RequeueSlot, objectNamed("other"), objectNamed("web"))
	got := map[string]int{}
	for range 2 {
		request, priority, _ := q.GetWithPriority()
		got[request.Name] = priority
	}
	if diff := cmp.Diff(map[string]int{"other": mintqueue.RequeueSlot, "web": mintqueue.RequeueSlot}, got); diff != "" {
		t.Errorf("woken, with their priorities (-want +got):\n%s", diff)
	}
}

func TestAQueueWithoutPrioritiesIsRefused(t *testing.T) {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	if err := (&Reconciler{}).captureQueue(t.Context(), q); err == nil {
		t.Error("it is taken, and whoever has a turn would wait behind everybody else")
	}
}

func TestIndexesTakeOnlyTheirKind(t *testing.T) {
	if apiKeySecretOf(&corev1.Secret{}) != nil || targetSecretOf(&corev1.Secret{}) != nil {
		t.Error("a Secret is indexed as a ReactorToken")
	}
	if diff := cmp.Diff([]string{"web"}, targetSecretOf(newToken("web"))); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
}

func TestWhatHasTheNameOfItsObjectIsFoundWithoutAnIndex(t *testing.T) {
	secret := func(name, writer string) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{v1alpha1.TokenNameAnnotation: writer}}}
	}
	r := &Reconciler{cache: fake.NewClientBuilder().WithScheme(newAPI(t).Scheme()).
		WithIndex(&corev1.Secret{}, indexWriter, unlessOwnName(writerOf)).
		WithObjects(secret("web", "web"), secret("web-earlier", "web"), secret("other", "web-earlier")).Build()}
	for token, want := range map[string][]string{"web": {"web-earlier", "web"}, "web-earlier": {"other"}, "other": nil, "gone": nil} {
		found, err := r.secretsWrittenFor(t.Context(), objectNamed(token))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range found {
			names = append(names, found[i].Name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("written for %s (-want +got):\n%s", token, diff)
		}
	}
	if own := unlessOwnName(targetSecretOf)(newToken("web")); len(own) != 0 {
		t.Errorf("indexed under its own name: %v", own)
	}
}

func TestACopyOfTheStatusIsKeptOnlyUntilTheCacheShowsIt(t *testing.T) {
	known := lastStatus{status: &v1alpha1.ReactorTokenStatus{SecretName: "written"}, version: "8"}
	token := aToken()
	token.ResourceVersion, token.Status.SecretName = "7", "cached"
	if status, version, isAhead := known.latest(token); status.SecretName != "written" || version != "8" || !isAhead {
		t.Errorf("a cache that lags: goes on from %s at version %s", status.SecretName, version)
	}
	token.ResourceVersion = "8"
	if status, version, isAhead := known.latest(token); status.SecretName != "cached" || version != "8" || isAhead {
		t.Errorf("a cache that shows it: goes on from %s at version %s, and keeps the copy: %v", status.SecretName, version, isAhead)
	}
	known.status, known.version = &v1alpha1.ReactorTokenStatus{SecretName: "unwritten"}, "" // the API server did not accept it
	if status, _, isAhead := known.latest(token); status.SecretName != "unwritten" || !isAhead {
		t.Errorf("a status that is not written yet: goes on from %s", status.SecretName)
	}
}

// Another client adds a condition, and takes one of its own away, while a status of ours meets a conflict.
func TestAStatusThatMetAConflictKeepsTheConditionsOfOthers(t *testing.T) {
	conditions := func(types ...string) (conditions []metav1.Condition) {
		for _, kind := range types {
			conditions = append(conditions, metav1.Condition{Type: kind})
		}
		return conditions
	}
	known := lastStatus{status: &v1alpha1.ReactorTokenStatus{Conditions: conditions(v1alpha1.ConditionReady, "Old")}}
	token := aToken()
	token.Status.Conditions = conditions(v1alpha1.ConditionStalled, "Audited", v1alpha1.ConditionReady)
	for range 2 { // a pass asks more than once
		status, _, _ := known.latest(token)
		if diff := cmp.Diff(conditions(v1alpha1.ConditionReady, "Audited"), status.Conditions); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	}
}

func secretNamed(name string) *metav1.PartialObjectMetadata {
	meta := secretMetadata()
	meta.Name, meta.Annotations = name, map[string]string{}
	return meta
}
