package apimodel

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// subresource is the access to a subresource.
type subresource struct {
	access *access
	name   string
}

const bindingSubresource = "binding"

// status refuses all but the status of kinds that have one, in the way in which the real API server does not find it.
func (r *subresource) status(object runtime.Object) error {
	if r.name != statusSubresource {
		return fmt.Errorf("%w: the subresource %s", errUnsupported, r.name)
	}
	k, err := r.access.server.kindOf(object)
	if err == nil && !k.hasStatus {
		return apierrors.NewNotFound(k.resource, "status")
	}
	return err
}

// Get is not supported: a read of the object has it all.
func (r *subresource) Get(context.Context, client.Object, client.Object, ...client.SubResourceGetOption) error {
	return fmt.Errorf("%w: a read of the subresource %s", errUnsupported, r.name)
}

// Create binds a pod to a node.
func (r *subresource) Create(ctx context.Context, object, sub client.Object, _ ...client.SubResourceCreateOption) error {
	binding, isBinding := sub.(*corev1.Binding)
	if _, isPod := object.(*corev1.Pod); !isPod || !isBinding || r.name != bindingSubresource {
		return fmt.Errorf("%w: %T as the subresource %s of %T", errUnsupported, sub, r.name, object)
	}
	k, err := r.access.written(object)
	if err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(object)
	asked := r.access.asked(VerbCreate, k, key, binding)
	asked.Subresource = r.name
	return r.access.server.ask(ctx, asked, func() error { return r.access.server.bind(k, key, binding) })
}

// Update writes the status.
func (r *subresource) Update(ctx context.Context, object client.Object, options ...client.SubResourceUpdateOption) error {
	if err := r.status(object); err != nil {
		return err
	}
	with := client.SubResourceUpdateOptions{}
	with.ApplyOptions(options)
	body := object
	if with.SubResourceBody != nil {
		body = with.SubResourceBody
	}
	return r.access.update(ctx, object, body, r.name, &with.UpdateOptions)
}

// Patch changes the status.
func (r *subresource) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
	if err := r.status(object); err != nil {
		return err
	}
	with := client.SubResourcePatchOptions{}
	with.ApplyOptions(options)
	body := object
	if with.SubResourceBody != nil {
		body = with.SubResourceBody
	}
	return r.access.patch(ctx, object, body, patch, r.name, &with.PatchOptions)
}

// Apply applies the status.
func (r *subresource) Apply(ctx context.Context, wanted runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
	if r.name != statusSubresource {
		return fmt.Errorf("%w: the subresource %s", errUnsupported, r.name)
	}
	with := client.SubResourceApplyOptions{}
	with.ApplyOpts(options)
	body := wanted
	if with.SubResourceBody != nil {
		body = with.SubResourceBody
	}
	return r.access.apply(ctx, wanted, body, r.name, &with.ApplyOptions)
}
