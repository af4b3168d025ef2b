package tokenserver

import (
	"context"

	"golang.org/x/sync/singleflight"
)

// share makes one call for all who need its result at the same time. A caller whose context ends does not wait for the result, and does not
// take it from the others: the call must not use a context that ends with one request.
func share[T any](ctx context.Context, calls *singleflight.Group, key string, call func() (T, error)) (T, error) {
	landed := calls.DoChan(key, func() (any, error) { return call() })
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case result := <-landed:
		value, _ := result.Val.(T)
		return value, result.Err
	}
}
