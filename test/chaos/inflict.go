package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// inflict does what a fault says, takes its cause away again, and returns what showed that it was there.
func (w *world) inflict(ctx context.Context, f fault) (string, error) {
	switch f.kind {
	case operatorLoop:
		return fmt.Sprintf("%d kills", len(f.lives)), w.crew.loop(ctx, f.lives)
	case leaderKilled:
		return w.killLeader(ctx)
	case apiServerKilled:
		return w.withRefusal(func() (string, error) { return w.killAndRestart(ctx, apiServer, f.lasts) })
	case etcdKilled:
		return w.withRefusal(func() (string, error) { return w.killAndRestart(ctx, etcdServer, f.lasts) })
	case apiServerRefuses:
		return w.withRefusal(func() (string, error) { return w.throttle(ctx, f.lasts) })
	case etcdFull:
		return w.withRefusal(func() (string, error) { return w.fillDisk(ctx, f.lasts) })
	case kubeletKilled:
		return w.killKubelet(ctx, f.lasts)
	case reactorFrozen:
		return w.freezeReactor(ctx, f.lasts)
	case reactorFails:
		return w.failReactor(ctx, f)
	case blackhole:
		return w.blackholeConnections(ctx)
	case errorsByProxy:
		return w.answerWithPages(ctx, f.lasts)
	}
	return "", fmt.Errorf("nobody knows how to do this: %s", f.kind)
}

// The programs of the control plane that are killed.
const (
	etcdServer = "etcd"
	apiServer  = "kube-apiserver"
)

// withRefusal notes when Kubernetes took no writes.
func (w *world) withRefusal(do func() (string, error)) (string, error) {
	from := time.Now()
	note, err := do()
	w.circumstances.refusedSince(from)
	return note, err
}

func (w *world) killLeader(ctx context.Context) (string, error) {
	leader, err := w.crew.awaitLeader(ctx)
	if err != nil {
		return "", err
	}
	began := time.Now()
	leader.kill()
	for { // it may still be told of as the leader until its port is closed
		next, err := w.crew.awaitLeader(ctx)
		if err != nil {
			return "", err
		}
		if next != leader || time.Since(began) > time.Second {
			return fmt.Sprintf("the next led %.1f s later", time.Since(began).Seconds()), nil
		}
	}
}

// killAndRestart kills a server, and starts it again on the same data.
func (w *world) killAndRestart(ctx context.Context, name string, down time.Duration) (string, error) {
	if err := w.plane.Kill(name); err != nil {
		return "", err
	}
	if err := stage.Pause(ctx, down); err != nil {
		return "", err
	}
	began := time.Now()
	if err := w.plane.Restart(ctx, name); err != nil {
		return "", err
	}
	if err := w.awaitPlane(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("down %.1f s, served %.1f s after its start", down.Seconds(), time.Since(began).Seconds()), nil
}

// awaitPlane waits until Kubernetes takes writes.
func (w *world) awaitPlane(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, settleTimeout, true, func(ctx context.Context) (bool, error) {
		last = w.tryWrite(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the control plane takes no writes: %w", errors.Join(err, last))
	}
	return nil
}

// tryWrite writes something of no importance.
func (w *world) tryWrite(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return w.kube.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "written-"}})
}

// throttle has kube-apiserver refuse most of what is asked of it, and asks for much.
func (w *world) throttle(ctx context.Context, lasts time.Duration) (string, error) {
	if err := w.plane.Kill(apiServer); err != nil {
		return "", err
	}
	// Without priorities, what is too much is not queued but refused at once.
	if err := w.plane.Restart(ctx, apiServer,
		"--enable-priority-and-fairness=false", "--max-requests-inflight=1", "--max-mutating-requests-inflight=1"); err != nil {
		return "", err
	}
	pressing, stop := context.WithTimeout(ctx, lasts)
	defer stop()
	asked, refused, err := w.press(pressing)
	if err != nil {
		return "", err
	}
	if refused == 0 {
		return "", fmt.Errorf("none of %d requests was answered with 429", asked)
	}
	if err := w.plane.Kill(apiServer); err != nil {
		return "", err
	}
	if err := errors.Join(w.plane.Restart(ctx, apiServer), w.awaitPlane(ctx)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of %d requests beside the operator's were answered 429", refused, asked), nil
}

// press lists Secrets under the operator's account, which system:masters would not do: it is never refused.
func (w *world) press(ctx context.Context) (asked, refused int64, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", w.account)
	if err != nil {
		return 0, 0, err
	}
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil {
				atomic.AddInt64(&asked, 1)
				if response.StatusCode == http.StatusTooManyRequests {
					atomic.AddInt64(&refused, 1)
				}
			}
			return response, err
		})
	})
	pressing, err := client.New(config, client.Options{})
	if err != nil {
		return 0, 0, err
	}
	job := func(ctx context.Context) {
		for stage.Pause(ctx, 100*time.Millisecond) == nil {
			_ = pressing.List(ctx, &corev1.SecretList{}, client.InNamespace(namespace)) // it may be refused: that is what it is for
		}
	}
	together(ctx, []func(context.Context){job, job, job, job})
	return asked, refused, nil
}

// roundTrip is an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fillDisk gives etcd little room, and fills that; then it does what an administrator would.
func (w *world) fillDisk(ctx context.Context, lasts time.Duration) (string, error) {
	e := etcd(w.plane.EtcdURL())
	size, _, err := e.status(ctx)
	if err != nil {
		return "", err
	}
	if err := w.plane.Kill(etcdServer); err != nil {
		return "", err
	}
	if err := w.plane.Restart(ctx, etcdServer, fmt.Sprintf("--quota-backend-bytes=%d", size+int64(room))); err != nil {
		return "", err
	}
	if err := e.fill(ctx, room); err != nil {
		return "", err
	}
	refusal := w.tryWrite(ctx)
	if refusal == nil {
		return "", errors.New("etcd's disk is full, and a write through kube-apiserver was taken")
	}
	if !strings.Contains(refusal.Error(), noSpace) {
		return "", fmt.Errorf("a write to a full etcd: %w", refusal)
	}
	if err := stage.Pause(ctx, lasts); err != nil {
		return "", err
	}
	if err := e.mend(ctx); err != nil {
		return "", fmt.Errorf("mend etcd: %w", err)
	}
	// With the room that it had.
	if err := w.plane.Kill(etcdServer); err != nil {
		return "", err
	}
	if err := errors.Join(w.plane.Restart(ctx, etcdServer), w.awaitPlane(ctx)); err != nil {
		return "", err
	}
	return "writes were refused: " + noSpace, nil
}

func (w *world) killKubelet(ctx context.Context, down time.Duration) (string, error) {
	if err := w.node.Kill("kubelet"); err != nil {
		return "", err
	}
	if err := stage.Pause(ctx, down); err != nil {
		return "", err
	}
	return fmt.Sprintf("down %.1f s", down.Seconds()), w.node.Restart("kubelet")
}

func (w *world) freezeReactor(ctx context.Context, lasts time.Duration) (string, error) {
	from := time.Now()
	defer func() { w.circumstances.muteSince(from) }()
	if err := freeze(w.emulator); err != nil {
		return "", err
	}
	err := stage.Pause(ctx, lasts)
	return fmt.Sprintf("%.1f s", lasts.Seconds()), errors.Join(err, thaw(w.emulator))
}

func (w *world) failReactor(ctx context.Context, f fault) (string, error) {
	from := time.Now()
	if err := w.reactor.fail(ctx, f.fails.faults); err != nil {
		return "", err
	}
	defer func() { w.circumstances.muteSince(from) }()
	err := stage.Pause(ctx, f.lasts)
	if err := errors.Join(err, w.reactor.fail(context.WithoutCancel(ctx), "")); err != nil {
		return "", err
	}
	read, err := w.reactor.ledger(ctx)
	if err != nil {
		return "", err
	}
	spoiled := 0
	for _, c := range read.during(window{from, time.Now()}) {
		if c.Faulted {
			spoiled++
		}
	}
	return fmt.Sprintf("%d requests for tokens went wrong", spoiled), nil
}

// blackholeConnections silences the connections from the operator to the proxy, permanently: only an operator that dials another one is
// answered again. It waits until one does, or until it should have.
func (w *world) blackholeConnections(ctx context.Context) (string, error) {
	dialed, began := w.proxy.dials(), time.Now()
	silenced := w.proxy.blackhole()
	w.circumstances.blackholedAt(began)
	for w.proxy.dials() == dialed && time.Since(began) < noticing {
		if err := stage.Pause(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
	if w.proxy.dials() == dialed {
		return fmt.Sprintf("%d connections, and none was dialed within %s", silenced, noticing), nil
	}
	return fmt.Sprintf("%d connections, the next was dialed %.1f s later", silenced, time.Since(began).Seconds()), nil
}

// answerWithPages has the proxy answer the operator. These calls do not reach Reactor, so that they excuse nothing: no token is minted that
// could be lost, and the programs of sessions, which do not use the proxy, are answered as always.
func (w *world) answerWithPages(ctx context.Context, lasts time.Duration) (string, error) {
	before := w.proxy.pages.Load()
	w.proxy.failing.Store(true)
	err := stage.Pause(ctx, lasts)
	w.proxy.failing.Store(false)
	return fmt.Sprintf("%d requests were answered with a page", w.proxy.pages.Load()-before), err
}
