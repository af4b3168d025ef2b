package operator

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// scriptedManager returns from Start what is sent on ends.
type scriptedManager struct {
	manager.Manager
	ends chan error
}

func (m scriptedManager) Start(context.Context) error { return <-m.ends }

func TestStart(t *testing.T) {
	errLost := errors.New("leader election lost")
	for name, test := range map[string]struct {
		filled  bool // the caches
		stopped bool // the context, before the start
		ends    bool // the manager, with an error
		want    error
	}{
		"the manager's error is passed on":                             {filled: true, ends: true, want: errLost},
		"after a stop the manager finishes what is in flight":          {filled: true, stopped: true, ends: true, want: errLost},
		"a stop while the caches are being filled ends it immediately": {stopped: true},
		"a manager that fails before its caches are filled":            {ends: true, want: errLost},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if test.stopped {
				stop()
			}
			caches := &cachesFilled{filled: make(chan struct{})}
			if test.filled {
				close(caches.filled)
			}
			scripted := scriptedManager{ends: make(chan error, 1)}
			if test.ends {
				scripted.ends <- errLost
			} else {
				defer close(scripted.ends)
			}
			recorder, err := newRecorder(&rest.Config{Host: "http://no.such.host"}, http.DefaultClient, newScheme(), logr.Discard())
			if err != nil {
				t.Fatal(err)
			}
			if err := (&Manager{scripted, caches, recorder}).Start(ctx); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
