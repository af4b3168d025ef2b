package reactortoken

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	apply "github.com/reactor-operator/reactor-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// writeStatus writes the status, once, if it changed. It is applied as a whole, by its only writer: a patch computed against a
// cache that lags would leave out what has to be put back.
func (r *Reconciler) writeStatus(
	ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, status v1alpha1.ReactorTokenStatus,
) error {
	before := &token.Status
	if mem.status != nil {
		before = mem.status
	}
	if !statusChanged(before, &status) {
		return nil
	}
	wanted, err := statusApplyConfiguration(&status)
	if err != nil {
		return err
	}
	applied := apply.ReactorToken(token.Name, token.Namespace).WithUID(token.UID).WithStatus(wanted)
	err = r.client.Status().Apply(ctx, applied, client.FieldOwner(FieldOwner), client.ForceOwnership)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the object was deleted meanwhile, and perhaps created anew: its own events tell
	}
	if err != nil {
		return fmt.Errorf("writing the status of ReactorToken %s/%s: %w", token.Namespace, token.Name, err)
	}
	mem.status = status.DeepCopy()
	return nil
}

// statusApplyConfiguration converts by way of JSON, which the two types share: what is empty is left out, and so removed.
func statusApplyConfiguration(status *v1alpha1.ReactorTokenStatus) (*apply.ReactorTokenStatusApplyConfiguration, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	wanted := apply.ReactorTokenStatus()
	if err := json.Unmarshal(text, wanted); err != nil {
		return nil, fmt.Errorf("encoding a status for apply: %w", err)
	}
	return wanted, nil
}
