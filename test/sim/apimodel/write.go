package apimodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// precision is that of the times in objects.
const precision = time.Second

// decode reads an object from what was sent: a copy that has only what the wire carries, with defaults.
func (s *Server) decode(k *kind, text []byte) (client.Object, error) {
	object, err := s.newObject(k)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, object); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	object.GetObjectKind().SetGroupVersionKind(k.gvk)
	defaulter(k.defaults).Default(object)
	return object, nil
}

func (s *Server) received(k *kind, sent runtime.Object) (client.Object, error) {
	text, err := json.Marshal(sent)
	if err != nil {
		return nil, err
	}
	return s.decode(k, text)
}

// live is an object as it is stored.
func (s *Server) live(k *kind, key client.ObjectKey) (client.Object, error) {
	if object := k.objects[key]; object != nil {
		return object, nil
	}
	return nil, apierrors.NewNotFound(k.resource, key.Name)
}

// create stores a new object (apiserver/pkg/endpoints/handlers/create.go).
func (s *Server) create(k *kind, sent client.Object, manager string) (client.Object, error) {
	object, err := s.received(k, sent)
	if err != nil {
		return nil, err
	}
	if object.GetResourceVersion() != "" {
		text := "resourceVersion should not be set on objects to be created"
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: text}}
	}
	wipe(object)
	if object.GetName() == "" && object.GetGenerateName() == "" {
		missing := field.Required(field.NewPath("metadata", "name"), "name or generateName is required")
		return nil, apierrors.NewInvalid(k.gvk.GroupKind(), "", field.ErrorList{missing})
	}
	none, err := s.newObject(k)
	if err != nil {
		return nil, err
	}
	owned, ok := k.managers[""].UpdateNoErrors(none, object, manager).(client.Object)
	if !ok {
		return nil, fmt.Errorf("the field manager made something else of a %T", object)
	}
	return s.store(k, owned)
}

// wipe takes off what only the server sets.
func wipe(object client.Object) {
	object.SetDeletionTimestamp(nil)
	object.SetDeletionGracePeriodSeconds(nil)
	object.SetUID("")
	object.SetCreationTimestamp(metav1.Time{})
	object.SetSelfLink("")
}

// store is the end of every creation, by create or by apply.
func (s *Server) store(k *kind, object client.Object) (client.Object, error) {
	if k.admit != nil {
		k.admit(object)
	}
	wipe(object)
	object.SetUID(s.uid())
	object.SetCreationTimestamp(s.now())
	if object.GetName() == "" {
		object.SetName(generatedName(object.GetGenerateName(), string(object.GetUID())))
	}
	object.SetGeneration(0)
	if k.prepareCreate != nil {
		k.prepareCreate(object, s.now())
	}
	if wrong := validation.ValidateObjectMetaAccessor(object, true, validation.NameIsDNSSubdomain, field.NewPath("metadata")); len(wrong) > 0 {
		return nil, apierrors.NewInvalid(k.gvk.GroupKind(), object.GetName(), wrong)
	}
	if k.objects[client.ObjectKeyFromObject(object)] != nil {
		return nil, apierrors.NewAlreadyExists(k.resource, object.GetName())
	}
	s.ownTimes(object, nil)
	s.put(k, object)
	return object, nil
}

// generatedName completes a generateName. The real server draws the end at random; here the UID decides it, and so the seed.
func generatedName(begin, uid string) string {
	const length, longest = 5, 63
	return begin[:min(len(begin), longest-length)] + uid[:min(len(uid), length)]
}

// update changes an object (the Update of apiserver/pkg/registry/generic/registry). change makes a new object of the live one, which it
// must not touch.
func (s *Server) update(k *kind, key client.ObjectKey, subresource string, change func(live client.Object) (client.Object, error)) (client.Object, error) {
	live, err := s.live(k, key)
	if err != nil {
		return nil, err
	}
	changed, err := change(live)
	if err != nil {
		return nil, err
	}
	return s.replace(k, live, changed, subresource)
}

// replace puts a changed object in the place of the live one.
func (s *Server) replace(k *kind, live, changed client.Object, subresource string) (client.Object, error) {
	if err := k.sameVersion(live, changed); err != nil {
		return nil, err
	}
	if err := k.prepare(live, changed, subresource); err != nil {
		return nil, err
	}
	s.ownTimes(changed, live)
	switch {
	case live.GetDeletionTimestamp() != nil && len(changed.GetFinalizers()) == 0 && noGrace(live):
		s.remove(k, client.ObjectKeyFromObject(live))
	case sameObject(changed, live):
		return live, nil
	default:
		s.put(k, changed)
	}
	return changed, nil
}

func noGrace(object client.Object) bool {
	period := object.GetDeletionGracePeriodSeconds()
	return period == nil || *period == 0
}

// sameVersion refuses a change of another version than the live one.
func (k *kind) sameVersion(live, changed client.Object) error {
	switch wanted := changed.GetResourceVersion(); {
	case wanted == live.GetResourceVersion():
	case wanted != "" && wanted != "0":
		return apierrors.NewConflict(k.resource, live.GetName(), errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	case k.custom:
		return apierrors.NewInvalid(k.gvk.GroupKind(), live.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
		})
	default:
		changed.SetResourceVersion(live.GetResourceVersion())
	}
	return nil
}

// prepare takes back what this change may not change, and checks the rest (rest.BeforeUpdate).
func (k *kind) prepare(live, changed client.Object, subresource string) error {
	changed.SetGeneration(live.GetGeneration())
	prepare, check := k.prepareUpdate, k.checkUpdate
	if subresource == statusSubresource {
		prepare, check = k.prepareStatus, k.checkStatus
	}
	if prepare != nil {
		prepare(changed, live)
	}
	if changed.GetUID() == "" {
		changed.SetUID(live.GetUID())
	}
	changed.SetCreationTimestamp(live.GetCreationTimestamp())
	if live.GetDeletionTimestamp() != nil {
		changed.SetDeletionTimestamp(live.GetDeletionTimestamp())
	}
	if changed.GetDeletionGracePeriodSeconds() == nil {
		changed.SetDeletionGracePeriodSeconds(live.GetDeletionGracePeriodSeconds())
	}
	at := field.NewPath("metadata")
	wrong := validation.ValidateObjectMetaAccessor(changed, true, validation.NameIsDNSSubdomain, at)
	wrong = append(wrong, validation.ValidateObjectMetaAccessorUpdate(changed, live, at)...)
	if check != nil {
		wrong = append(wrong, check(changed, live)...)
	}
	if len(wrong) > 0 {
		return apierrors.NewInvalid(k.gvk.GroupKind(), live.GetName(), wrong)
	}
	return nil
}

// put over HTTP: the whole object is sent.
func (s *Server) overwrite(k *kind, sent client.Object, subresource, manager string) (client.Object, error) {
	object, err := s.received(k, sent)
	if err != nil {
		return nil, err
	}
	return s.update(k, client.ObjectKeyFromObject(object), subresource, func(live client.Object) (client.Object, error) {
		if uid := object.GetUID(); uid != "" && uid != live.GetUID() {
			return nil, apierrors.NewConflict(k.resource, live.GetName(), fmt.Errorf("precondition failed: UID in precondition: %s, UID in object meta: %s", uid, live.GetUID()))
		}
		return s.owned(k, live, object, subresource, manager)
	})
}

// owned writes down that a manager owns what it changed.
func (s *Server) owned(k *kind, live, changed client.Object, subresource, manager string) (client.Object, error) {
	owned, ok := k.managers[subresource].UpdateNoErrors(live, changed, manager).(client.Object)
	if !ok {
		return nil, fmt.Errorf("the field manager made something else of a %T", changed)
	}
	return owned, nil
}
