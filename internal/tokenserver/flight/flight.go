// Package flight makes one call for all callers that need its result at the same time.
package flight

import (
	"context"

	"golang.org/x/sync/singleflight"
)

// Group holds the calls that are running, by key. The zero value is ready to use.
type Group[T any] struct{ calls singleflight.Group }

// Do returns the result of the running call with this key, and starts the call if there is none. A caller whose context ends gets the error of
// the context, and the call continues for the others. So the call must not use a context that ends with one request.
func (g *Group[T]) Do(ctx context.Context, key string, call func() (T, error)) (T, error) {
	results := g.calls.DoChan(key, func() (any, error) { return call() })
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case result := <-results:
		value, _ := result.Val.(T)
		return value, result.Err
	}
}
