package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// mostCounted are the tokens whose requests are counted: the number to each does not depend on how many there are.
const mostCounted = 500

// What a mint costs: the Secret and the status are written. The key is in memory: it is read at most once for all the mints that are counted
// together, which are less than a minute apart.
const (
	requestsOfMint = 2
	writesOfMint   = 2
	maxKeyReads    = 1
)

// requests counts what the operator asks of the API server for a first mint and for a renewal, in the API server's audit log.
func (b *bench) requests(ctx context.Context) (err error) {
	s := &system{names: named("token", min(b.n, mostCounted))}
	if s.Stage, err = b.stage(ctx, stage.Options{Audit: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if s.operator, err = s.StartOperator(slices.Concat(withoutMintRate, b.operatorFlags)...); err != nil {
		return err
	}
	if err := errors.Join(s.operator.AwaitReady(ctx), s.operator.AllSeen(ctx, 0, time.Minute)); err != nil {
		return err
	}
	if b.writes, err = learn(ctx, s.Stage); err != nil {
		return err
	}
	// Reactor's first answer to the key: until it comes, tokens that are created meanwhile report that they wait for it, in one write more.
	if err := createTokens(ctx, s.Stage, []string{"answered-first"}); err != nil {
		return err
	}
	if _, err := b.awaitMints(ctx, s, 1); err != nil {
		return err
	}
	err = b.countMints(ctx, s, "first mint", func() error { return createTokens(ctx, s.Stage, s.names) })
	if err != nil {
		return err
	}
	return b.countMints(ctx, s, "renewal", func() error {
		return forEach(ctx, creators, s.names, func(ctx context.Context, name string) error {
			token := newToken(name)
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"now"}}}`, v1alpha1.RenewRequestedAtAnnotation)
			return s.Kube.Patch(ctx, token, client.RawPatch(types.MergePatchType, []byte(patch)))
		})
	})
}

// countMints has each token minted once, and counts what that cost.
func (b *bench) countMints(ctx context.Context, s *system, what string, cause func() error) error {
	mark, err := markAudit(s.Plane.AuditLogPath())
	if err != nil {
		return err
	}
	before, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	if err := cause(); err != nil {
		return err
	}
	n := len(s.names)
	after, err := b.awaitMints(ctx, s, before.Mints+n)
	if err != nil {
		return err
	}
	counts, err := countSince(s.Plane.AuditLogPath(), mark)
	if err != nil {
		return err
	}
	all, writes, keyReads := counts.sum(forObjects), counts.sum(writesWithoutEvents), counts["get secrets"]
	lists := counts.sum(func(name string) bool { return strings.HasPrefix(name, "list ") })
	right := all-keyReads == n*requestsOfMint && keyReads <= maxKeyReads && writes == n*writesOfMint && lists == 0 && after.Mints == before.Mints+n
	b.row(Row{
		Figure: "API server requests per " + what,
		Operator: fmt.Sprintf("%.2f, %.2f of them writes, and %d reads of the key for all (%s)",
			float64(all-keyReads)/float64(n), float64(writes)/float64(n), keyReads, counts.per(n)),
		Goal: "2: Secret, status; events apart, at most 1 read of the key for all, no list", Verdict: count(right),
	})
	return nil
}

// awaitMints waits until Reactor was asked so often, and the operator has nothing more to do.
func (b *bench) awaitMints(ctx context.Context, s *system, mints int) (ledger, error) {
	seen := ledger{}
	err := stage.Poll(ctx, 10*time.Minute, func(ctx context.Context) (bool, error) {
		var err error
		seen, err = readLedger(ctx, s.Stage)
		return seen.Mints >= mints, err
	})
	if err != nil {
		return seen, s.operator.Explain(err)
	}
	// What was written wakes the operator once more, and events are told a moment later.
	if err := errors.Join(stage.Pause(ctx, eventsUnderWay), s.operator.AllSeen(ctx, 0, forever)); err != nil {
		return seen, err
	}
	return readLedger(ctx, s.Stage)
}
