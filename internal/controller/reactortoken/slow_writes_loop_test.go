package reactortoken

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// The API server takes a second for each write, and 400 renewals are due. The Secret of another object is repaired all the same.
func TestWritesThatTakeLongDelayNoRepair(t *testing.T) {
	inWorld(t, func(w *world) {
		const due = 400
		w.workers = 8 // the default of --concurrency
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 200, 40 }
		w.create(newToken("web", lifetime("6h")))
		for i := range due {
			w.create(newToken(fmt.Sprintf("due-%d", i)))
		}
		w.start()
		w.stop()
		w.passUntil(w.token("due-0").Status.ExpirationTime.Add(-12 * time.Minute))
		w.api.MeddleWith(func(_ call, do func() error) error {
			time.Sleep(time.Second)
			return do()
		})
		w.start()
		w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Data, targetsecret.ExpiresAtKey) })
		w.pass(10 * time.Second)
		w.wantValid("web")
		if got := w.mints(); got == 1+2*due {
			t.Error("no renewal was due any more")
		}
	})
}
