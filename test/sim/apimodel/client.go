package apimodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Client is the access of a user. The user's name is also that of the field manager, where a write names none.
func (s *Server) Client(user string) client.WithWatch { return &access{s, user} }

// access is a client. What it is asked and the model does not do, it refuses with errUnsupported.
type access struct {
	server *Server
	user   string
}

var errUnsupported = errors.New("the model of the API server does not do this")

var noKind = schema.GroupVersionKind{}

func (a *access) asked(verb string, k *kind, key client.ObjectKey, sent any) Request {
	return Request{User: a.user, Verb: verb, Kind: k.gvk.Kind, Namespace: key.Namespace, Name: key.Name, Sent: sent}
}

func (a *access) manager(named string) string {
	if named != "" {
		return named
	}
	return a.user
}

// Get reads an object, or its metadata.
func (a *access) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	k, err := a.server.kindOf(into)
	if err != nil {
		return err
	}
	if raw := (&client.GetOptions{}).ApplyOptions(options).Raw; raw != nil && raw.ResourceVersion != "" {
		return fmt.Errorf("%w: a read at a resourceVersion", errUnsupported)
	}
	return a.ask(ctx, a.asked(VerbGet, k, key, nil), k, into, func() (client.Object, error) { return a.server.live(k, key) })
}

// ask has a request served, and gives the caller what it made. A caller who gets an error, be it from a hook, gets nothing else.
func (a *access) ask(ctx context.Context, asked Request, k *kind, into runtime.Object, serve func() (client.Object, error)) error {
	var made client.Object
	err := a.server.ask(ctx, asked, func() (err error) {
		made, err = serve()
		return err
	})
	if err != nil || made == nil {
		return err
	}
	return k.give(made, into)
}

// give copies an object into what the caller holds.
func (k *kind) give(object client.Object, into runtime.Object) error {
	_, metadataOnly := into.(*metav1.PartialObjectMetadata)
	answered, target := reflect.ValueOf(k.answer(object, metadataOnly)), reflect.ValueOf(into)
	if answered.Type() != target.Type() {
		return fmt.Errorf("%w: a %s as %T", errUnsupported, k.gvk.Kind, into)
	}
	target.Elem().Set(answered.Elem())
	return nil
}

// List lists objects, or their metadata.
func (a *access) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	k, err := a.server.kindOfList(into)
	if err != nil {
		return err
	}
	wanted := (&client.ListOptions{}).ApplyOptions(options)
	if wanted.Raw != nil && wanted.Raw.ResourceVersion != "" {
		return fmt.Errorf("%w: a list at a resourceVersion", errUnsupported)
	}
	var listed page
	err = a.server.ask(ctx, a.asked(VerbList, k, client.ObjectKey{Namespace: wanted.Namespace}, nil), func() (err error) {
		listed, err = a.server.list(k, selection{wanted.Namespace, wanted.LabelSelector, wanted.FieldSelector}, wanted.Limit, wanted.Continue)
		return err
	})
	if err != nil {
		return err
	}
	return k.fill(into, listed)
}

// Watch watches objects, or their metadata. Its events are not late.
func (a *access) Watch(ctx context.Context, list client.ObjectList, options ...client.ListOption) (watch.Interface, error) {
	k, err := a.server.kindOfList(list)
	if err != nil {
		return nil, err
	}
	wanted := (&client.ListOptions{}).ApplyOptions(options)
	from := ""
	if wanted.Raw != nil {
		from = wanted.Raw.ResourceVersion
	}
	_, metadataOnly := list.(*metav1.PartialObjectMetadataList)
	w := &watcher{
		kind: k, wanted: selection{wanted.Namespace, wanted.LabelSelector, wanted.FieldSelector}, metadataOnly: metadataOnly,
		lag: func() time.Duration { return 0 },
	}
	return a.server.openWatch(ctx, a.asked(VerbWatch, k, client.ObjectKey{Namespace: wanted.Namespace}, nil), w, from)
}

// written is the object that is to be written, if it is one that can be.
func (a *access) written(object runtime.Object) (*kind, error) {
	k, err := a.server.kindOf(object)
	if err != nil {
		return nil, err
	}
	if named, ok := object.(client.Object); ok && named.GetNamespace() == "" {
		return nil, fmt.Errorf("an empty namespace may not be set for a %s", k.gvk.Kind)
	}
	return k, nil
}

// Create creates an object.
func (a *access) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	k, err := a.written(object)
	if err != nil {
		return err
	}
	with := (&client.CreateOptions{}).ApplyOptions(options)
	if err := noDryRun(with.DryRun); err != nil {
		return err
	}
	return a.ask(ctx, a.asked(VerbCreate, k, client.ObjectKeyFromObject(object), object), k, object, func() (client.Object, error) {
		return a.server.create(k, object, a.manager(with.FieldManager))
	})
}

// Update puts an object in the place of the one that is there.
func (a *access) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	with := (&client.UpdateOptions{}).ApplyOptions(options)
	return a.update(ctx, object, object, "", with)
}

func (a *access) update(ctx context.Context, object, body client.Object, subresource string, with *client.UpdateOptions) error {
	k, err := a.written(object)
	if err != nil {
		return err
	}
	if err := noDryRun(with.DryRun); err != nil {
		return err
	}
	asked := a.asked(VerbUpdate, k, client.ObjectKeyFromObject(object), body)
	asked.Subresource = subresource
	return a.ask(ctx, asked, k, body, func() (client.Object, error) {
		return a.server.overwrite(k, body, subresource, a.manager(with.FieldManager))
	})
}

// Patch changes an object.
func (a *access) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.PatchOption) error {
	return a.patch(ctx, object, object, patch, "", (&client.PatchOptions{}).ApplyOptions(options))
}

func (a *access) patch(ctx context.Context, object, body client.Object, patch client.Patch, subresource string, with *client.PatchOptions) error {
	k, err := a.written(object)
	if err != nil {
		return err
	}
	if err := noDryRun(with.DryRun); err != nil {
		return err
	}
	text, err := patch.Data(body)
	if err != nil {
		return err
	}
	sent := edit{how: patch.Type(), text: text, subresource: subresource, manager: with.FieldManager, force: with.Force != nil && *with.Force}
	verb := VerbApply
	if sent.how != types.ApplyPatchType {
		verb, sent.manager = VerbPatch, a.manager(sent.manager)
	}
	asked := a.asked(verb, k, client.ObjectKeyFromObject(object), json.RawMessage(text))
	asked.Subresource = subresource
	return a.ask(ctx, asked, k, body, func() (client.Object, error) { return a.server.patch(k, client.ObjectKeyFromObject(object), sent) })
}

// Apply is a server-side apply.
func (a *access) Apply(ctx context.Context, wanted runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	return a.apply(ctx, wanted, wanted, "", (&client.ApplyOptions{}).ApplyOptions(options))
}

func (a *access) apply(ctx context.Context, of, body runtime.ApplyConfiguration, subresource string, with *client.ApplyOptions) error {
	if err := noDryRun(with.DryRun); err != nil {
		return err
	}
	identity := &metav1.PartialObjectMetadata{}
	if text, err := json.Marshal(of); err != nil {
		return err
	} else if err := json.Unmarshal(text, identity); err != nil {
		return err
	}
	k, err := a.written(identity)
	if err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	sent := edit{how: types.ApplyPatchType, text: text, subresource: subresource, manager: with.FieldManager, force: with.Force != nil && *with.Force}
	asked := a.asked(VerbApply, k, client.ObjectKeyFromObject(identity), json.RawMessage(text))
	asked.Subresource = subresource
	var applied client.Object
	err = a.server.ask(ctx, asked, func() (err error) {
		applied, err = a.server.patch(k, client.ObjectKeyFromObject(identity), sent)
		return err
	})
	if err != nil || applied == nil {
		return err
	}
	answer, err := json.Marshal(applied)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, body)
}

// Delete deletes an object.
func (a *access) Delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	k, err := a.written(object)
	if err != nil {
		return err
	}
	with := (&client.DeleteOptions{}).ApplyOptions(options)
	if err := noDryRun(with.DryRun); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(object)
	sent := with.AsDeleteOptions()
	return a.server.ask(ctx, a.asked(VerbDelete, k, key, sent), func() error { return a.server.delete(k, key, sent) })
}

// DeleteAllOf is not supported.
func (a *access) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return fmt.Errorf("%w: deletion of a collection", errUnsupported)
}

func noDryRun(stages []string) error {
	if len(stages) > 0 {
		return fmt.Errorf("%w: a dry run", errUnsupported)
	}
	return nil
}

// Status is the subresource of the status.
func (a *access) Status() client.SubResourceWriter { return a.SubResource(statusSubresource) }

// SubResource is a subresource: status of the kinds that have it, and binding of pods.
func (a *access) SubResource(name string) client.SubResourceClient { return &subresource{a, name} }

// Scheme is the server's.
func (a *access) Scheme() *runtime.Scheme { return a.server.scheme }

// RESTMapper knows the kinds that are served.
func (a *access) RESTMapper() meta.RESTMapper { return a.server.mapper }

// GroupVersionKindFor tells the kind of an object.
func (a *access) GroupVersionKindFor(object runtime.Object) (schema.GroupVersionKind, error) {
	return a.server.groupVersionKindFor(object)
}

func (s *Server) groupVersionKindFor(object runtime.Object) (schema.GroupVersionKind, error) {
	return apiutil.GVKForObject(object, s.scheme)
}

// IsObjectNamespaced tells that the kinds which are served all are.
func (a *access) IsObjectNamespaced(object runtime.Object) (bool, error) {
	_, err := a.server.kindOf(object)
	return err == nil, err
}
