package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// replaceKey is the command that puts the key of a file into a Secret.
func replaceKey(secret, file string) string {
	return "kubectl create secret generic " + secret + " --from-file=api-key=$DEMO/" + file + " \\\n" +
		"--dry-run=client -o yaml | kubectl replace -f -"
}

// rotated replaces the API key, and revokes the old one.
func (d *demo) rotated(ctx context.Context) error {
	if err := d.writeKey("key-2", newKey()); err != nil {
		return err
	}
	d.say.text("Reactor gets a second key, the Secret gets it too, and the first one is revoked:")
	var err error
	if d.keys.second, err = d.introduceKey(ctx, "key-2"); err != nil {
		return err
	}
	began := time.Now()
	if err := d.mustRun(ctx, replaceKey("reactor-api-key", "key-2")); err != nil {
		return err
	}
	if _, err := d.tellReactor(ctx, http.MethodDelete, "/_emulator/keys", "@key-1.json"); err != nil {
		return err
	}
	var origin call
	ofSecondKey := func(now look) bool {
		ledger, err := d.stage.reactor.ledger(ctx)
		if err != nil {
			return false
		}
		var known bool
		origin, known = ledger.of(now.token.id)
		return known && origin.Key == d.keys.second
	}
	if seen, ok := d.await(ctx, "web", patience, func(now look) bool { return now.ready() && ofSecondKey(now) }); ok {
		d.say.good("a token by the new key after %s. %s", seconds(seen.at.Sub(began)), seen.continuity())
		d.say.request(http.MethodGet, ledgerPath, "")
		if line, err := json.Marshal(origin); err == nil {
			d.say.output("… " + string(line) + " …")
		}
	}

	origin = call{}
	seen := d.look(ctx, "web")
	ok := ofSecondKey(seen) && seen.ready()
	held := seen.holding()
	if origin.Key != "" {
		held = fmt.Sprintf("token %s by key %s", seen.name(), short(origin.Key))
	}
	d.record("API key rotated", "a token by key "+short(d.keys.second), held, ok)
	return nil
}

// wrongKey puts a wrong key into a Secret, and the right one back.
func (d *demo) wrongKey(ctx context.Context) error {
	if err := d.applyStream(ctx); err != nil {
		return err
	}
	before, _ := d.await(ctx, "stream", patience, look.ready)
	if err := d.writeKey("wrong-key", "rk_mistyped_"+newKey()); err != nil {
		return err
	}
	d.say.blank()
	d.say.text("Now somebody mistypes the key:")
	began := time.Now()
	if err := d.mustRun(ctx, replaceKey("stream-api-key", "wrong-key")); err != nil {
		return err
	}
	refused := func(now look) bool {
		return now.is(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyRefused)
	}
	if seen, ok := d.await(ctx, "stream", patience, refused); ok {
		d.say.good("said after %s", seconds(seen.at.Sub(began)))
	}
	d.showConditions(ctx, "stream")

	seen := d.look(ctx, "stream")
	d.record("wrong key: said", "Renewed=False APIKeyRefused", seen.condition(v1alpha1.ConditionRenewed), refused(seen))
	d.recordKept(before, seen)
	if err := d.recordRefusals(ctx); err != nil {
		return err
	}
	return d.heal(ctx)
}

// applyStream applies a second ReactorToken.
func (d *demo) applyStream(ctx context.Context) error {
	apply, key := "kubectl apply -f test/demo/stream.yaml", "key-1"
	if d.settings.real() {
		d.say.text("A second ReactorToken, with a key Secret of its own:")
		apply = "sed 's/lifetime: 1h/lifetime: 1m/' test/demo/stream.yaml | kubectl apply -f -"
	} else {
		key = "key-2"
		d.say.text("A token of %s would expire while we look. So Reactor now grants what it grants in truth, up to 6h, and a second "+
			"ReactorToken, with a key Secret of its own, asks for 1h:", demoCeiling)
		if _, err := d.tellReactor(ctx, http.MethodPut, "/_emulator/lifetimes", `{"default":"6h","ceiling":"6h"}`); err != nil {
			return err
		}
	}
	if err := d.mustRun(ctx, "kubectl create secret generic stream-api-key --from-file=api-key=$DEMO/"+key); err != nil {
		return err
	}
	if err := d.mustRun(ctx, apply); err != nil {
		return err
	}
	d.run(ctx, fmt.Sprintf("kubectl wait --for=condition=Ready rtok/stream --timeout=%s", d.patience(patience)))
	return nil
}

// recordKept compares the token before the wrong key with the one after it.
func (d *demo) recordKept(before, after look) {
	kept := after.ready() && after.sameToken(before)
	seen := after.holding()
	if kept {
		seen = fmt.Sprintf("the same token, valid %s", after.left())
		d.say.good("the old token stays in its place, and is valid for %s more", after.left())
	} else if after.valid() && before.secret != nil && !after.sameToken(before) {
		seen = "another " + seen
	}
	d.record("wrong key: old token", "Ready=True, the same token", seen, kept)
}

// recordRefusals looks how often the wrong key was tried.
func (d *demo) recordRefusals(ctx context.Context) error {
	if d.settings.real() {
		return nil
	}
	ledger, err := d.stage.reactor.ledger(ctx)
	if err != nil {
		return err
	}
	refused := ledger.refused()
	d.record("wrong key: calls", "1 answered 401", fmt.Sprintf("%d answered 401", len(refused)), len(refused) == 1)
	return nil
}

// heal puts the right key back.
func (d *demo) heal(ctx context.Context) error {
	key := "key-1"
	if !d.settings.real() {
		key = "key-2"
	}
	d.say.blank()
	d.say.text("And the right key comes back:")
	began := time.Now()
	if err := d.mustRun(ctx, replaceKey("stream-api-key", key)); err != nil {
		return err
	}
	healed := func(now look) bool {
		return now.ready() && now.is(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	}
	if seen, ok := d.await(ctx, "stream", patience, healed); ok {
		d.say.good("healed after %s", seconds(seen.at.Sub(began)))
	}
	d.run(ctx, "kubectl get rtok")

	seen := d.look(ctx, "stream")
	d.record("right key: healed", "Renewed=True Issued", seen.condition(v1alpha1.ConditionRenewed), healed(seen))
	return nil
}
