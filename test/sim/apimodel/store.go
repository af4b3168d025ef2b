package apimodel

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shelf holds the objects of a kind, what became of them lately, and who wants to know. An object that stands on it, or in an event, is
// never changed: a change puts another one in its place, and readers get copies.
type shelf struct {
	objects   map[types.NamespacedName]client.Object
	history   []event
	forgotten uint64 // the resourceVersion of the last event that is not in the history any more
	watchers  map[*watcher]struct{}
}

// longestHistory is how many events of a kind are kept, at least. A watch that begins before them has expired.
const longestHistory = 1000

// event is a change of an object.
type event struct {
	what    watch.EventType
	version uint64
	at      time.Time     // in the time of package time
	before  client.Object // nil when it was added
	after   client.Object // nil when it was deleted
}

// version reads a resourceVersion; 0 when it is none.
func version(text string) uint64 {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

func versionText(number uint64) string { return strconv.FormatUint(number, 10) }

// put stores an object that is new or changed, under the next resourceVersion. The object is the store's from now on.
func (s *Server) put(k *kind, object client.Object) {
	s.version++
	object.SetResourceVersion(versionText(s.version))
	key := client.ObjectKeyFromObject(object)
	happened := event{what: watch.Modified, version: s.version, at: time.Now(), before: k.objects[key], after: object}
	if happened.before == nil {
		happened.what = watch.Added
	}
	k.objects[key] = object
	k.tell(happened)
}

// Restore stores objects as they are, with their UIDs, resourceVersions, statuses and managed fields, as a backup that is restored does. It must
// be called before anybody watches.
func (s *Server) Restore(objects ...client.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range objects {
		k, err := s.kindOf(object)
		if err != nil {
			return err
		}
		restored, _ := object.DeepCopyObject().(client.Object)
		restored.GetObjectKind().SetGroupVersionKind(k.gvk)
		k.objects[client.ObjectKeyFromObject(object)] = restored
		s.version = max(s.version, version(object.GetResourceVersion()))
	}
	return nil
}

// remove removes an object. Its deletion has a resourceVersion of its own, which the last state of the object then bears.
func (s *Server) remove(k *kind, key types.NamespacedName) {
	s.version++
	last, _ := k.objects[key].DeepCopyObject().(client.Object)
	last.SetResourceVersion(versionText(s.version))
	delete(k.objects, key)
	k.tell(event{what: watch.Deleted, version: s.version, at: time.Now(), before: last})
}

// tell writes an event down, and passes it to the watchers.
func (k *shelf) tell(happened event) {
	k.history = append(k.history, happened)
	if len(k.history) > 2*longestHistory {
		k.forget(len(k.history) - longestHistory)
	}
	for w := range k.watchers {
		w.offer(happened)
	}
}

// forget drops the oldest events.
func (k *shelf) forget(count int) {
	if count == 0 {
		return
	}
	k.forgotten = k.history[count-1].version
	k.history = append([]event(nil), k.history[count:]...)
}

// partial is what a reader of metadata gets of an object.
func partial(k *kind, object client.Object) *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(k.gvk)
	from, _ := object.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
	from.DeepCopyInto(&metadata.ObjectMeta)
	if k.metadataOnly != nil {
		k.metadataOnly(metadata)
	}
	return metadata
}
