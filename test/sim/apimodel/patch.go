package apimodel

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// edit is a patch or an apply, as it was sent.
type edit struct {
	how         types.PatchType
	text        []byte
	subresource string
	manager     string
	force       bool
}

// patch changes an object, or by an apply also creates it (apiserver/pkg/endpoints/handlers/patch.go).
func (s *Server) patch(k *kind, key client.ObjectKey, e edit) (client.Object, error) {
	if e.how == types.ApplyPatchType {
		return s.apply(k, key, e)
	}
	if k.custom && e.how == types.StrategicMergePatchType {
		return nil, unsupportedPatch(e.how)
	}
	return s.update(k, key, e.subresource, func(live client.Object) (client.Object, error) {
		before, err := json.Marshal(live)
		if err != nil {
			return nil, err
		}
		after, err := s.patched(k, before, e)
		if err != nil {
			return nil, err
		}
		changed, err := s.decode(k, after)
		if err != nil {
			return nil, err
		}
		if client.ObjectKeyFromObject(changed) != key {
			return nil, apierrors.NewBadRequest("the name of the object does not match the name on the URL")
		}
		return s.owned(k, live, changed, e.subresource, e.manager)
	})
}

// patched is the text of an object after a patch.
func (s *Server) patched(k *kind, before []byte, e edit) ([]byte, error) {
	switch e.how {
	case types.MergePatchType:
		after, err := jsonpatch.MergePatch(before, e.text)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	case types.JSONPatchType:
		patch, err := jsonpatch.DecodePatch(e.text)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		after, err := patch.Apply(before)
		if err != nil {
			return nil, apierrors.NewGenericServerResponse(422, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
		return after, nil
	case types.StrategicMergePatchType:
		of, err := s.newObject(k)
		if err != nil {
			return nil, err
		}
		after, err := strategicpatch.StrategicMergePatch(before, e.text, of)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	default:
		return nil, fmt.Errorf("%w: a patch of the type %s", errUnsupported, e.how)
	}
}

func unsupportedPatch(how types.PatchType) error {
	return apierrors.NewGenericServerResponse(415, "patch", schema.GroupResource{}, "", fmt.Sprintf("the body of the request was in an unknown format: %s", how), 0, false)
}

// apply is a server-side apply.
func (s *Server) apply(k *kind, key client.ObjectKey, e edit) (client.Object, error) {
	if e.manager == "" {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "PatchOptions"}, "",
			field.ErrorList{field.Required(field.NewPath("fieldManager"), "is required for apply patch")})
	}
	wanted := &unstructured.Unstructured{}
	if err := json.Unmarshal(e.text, &wanted.Object); err != nil {
		return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
	}
	live := k.objects[key]
	existed := live != nil
	if !existed {
		if e.subresource != "" {
			return nil, apierrors.NewNotFound(k.resource, key.Name)
		}
		var err error
		if live, err = s.newObject(k); err != nil {
			return nil, err
		}
	}
	merged, err := k.managers[e.subresource].Apply(live, wanted, e.manager, e.force)
	if err != nil {
		return nil, err
	}
	changed, ok := merged.(client.Object)
	if !ok {
		return nil, errors.New("the field manager made something else of an apply")
	}
	changed.GetObjectKind().SetGroupVersionKind(k.gvk)
	if existed {
		return s.replace(k, live, changed, e.subresource)
	}
	if uid := changed.GetUID(); uid != "" {
		return nil, apierrors.NewConflict(k.resource, key.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	}
	return s.store(k, changed)
}
