package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// apply applies the API key and a ReactorToken.
func (d *demo) apply(ctx context.Context) error {
	for _, command := range []string{
		"kubectl create namespace " + namespace,
		"kubectl config set-context --current --namespace=" + namespace,
		"kubectl create secret generic reactor-api-key --from-file=api-key=$DEMO/key-1",
		"cat test/demo/web.yaml",
	} {
		if err := d.mustRun(ctx, command); err != nil {
			return err
		}
	}
	if err := d.mustRun(ctx, "kubectl apply -f test/demo/web.yaml"); err != nil {
		return err
	}
	began := time.Now()
	d.run(ctx, fmt.Sprintf("kubectl wait --for=condition=Ready rtok/web --timeout=%s", d.patience(patience)))
	if seen, ok := d.await(ctx, "web", time.Second, look.ready); ok {
		d.say.good("Secret %q holds a token, %s after the ReactorToken was applied", seen.secret.Name, seconds(seen.at.Sub(began)))
	}
	if err := d.recordFirstCall(ctx); err != nil {
		return err
	}
	d.run(ctx, "kubectl get rtok")
	d.run(ctx, "kubectl get secrets")

	seen := d.look(ctx, "web")
	d.record("ReactorToken applied", "Ready=True TokenValid", seen.condition(v1alpha1.ConditionReady), seen.ready())
	return nil
}

// recordFirstCall looks what the first token cost.
func (d *demo) recordFirstCall(ctx context.Context) error {
	if d.settings.real() {
		return nil
	}
	ledger, err := d.stage.reactor.ledger(ctx)
	if err != nil {
		return err
	}
	d.record("calls to Reactor", "1 call, 1 token", fmt.Sprintf("%s, %s", count(len(ledger.Calls), "call"), count(ledger.Mints, "token")),
		len(ledger.Calls) == 1 && ledger.Mints == 1)
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// decode looks into the Secret.
func (d *demo) decode(ctx context.Context) error {
	d.run(ctx, "kubectl describe secret web | sed -n '/^Data/,$p'")
	d.run(ctx, "kubectl get secret web -o go-template='{{.data.jwt | base64decode}}'")
	if seen := d.look(ctx, "web"); seen.token.claims != "" {
		d.say.text("Its parts, decoded, but for the signature:")
		d.say.output(seen.token.describe())
	}
	d.run(ctx, "kubectl get secret web -o go-template='{{.data.expires_at | base64decode}}'")

	seen := d.look(ctx, "web")
	keys := slices.Sorted(maps.Keys(cmp.Or(seen.secret, &corev1.Secret{}).Data))
	d.record("keys of Secret web", "expires_at, jwt", cmp.Or(strings.Join(keys, ", "), "no Secret"), slices.Equal(keys, []string{"expires_at", "jwt"}))
	switch {
	case seen.secret == nil || seen.problem != nil:
		d.record("exp of the JWT", "expires_at of the Secret", seen.holding(), false)
	case seen.opaque != nil:
		d.record("exp of the JWT", "expires_at of the Secret", seen.opaque.Error(), false)
	case seen.token.expires.Equal(seen.expiresAt):
		d.say.good("exp in the JWT and expires_at in the Secret are the same instant: %s, %s after iat",
			clockTime(seen.expiresAt), seen.token.expires.Sub(seen.token.issued))
		d.record("exp of the JWT", "expires_at of the Secret", "both "+clockTime(seen.expiresAt), true)
	default:
		d.record("exp of the JWT", "expires_at of the Secret", clockTime(seen.token.expires)+" and "+clockTime(seen.expiresAt), false)
	}
	return nil
}

// clamped shows that the granted lifetime is told.
func (d *demo) clamped(ctx context.Context) error {
	d.say.text("The ReactorToken asks for 1m. Reactor shortens what is too long, and answers 200 all the same. The operator goes by what "+
		"was granted, %s, and says so:", demoCeiling)
	d.run(ctx, "kubectl get rtok web -o \\\ncustom-columns=ASKED:.status.requestedLifetime,GRANTED:.status.grantedLifetime")
	d.showConditions(ctx, "web")

	seen := d.look(ctx, "web")
	said := seen.is(v1alpha1.ConditionLifetimeClamped, metav1.ConditionTrue, v1alpha1.ReasonShortened)
	said = said && seen.status.RequestedLifetime == "1m" && seen.status.GrantedLifetime == "20s"
	told := seen.condition(v1alpha1.ConditionLifetimeClamped)
	if seen.status.GrantedLifetime != "" {
		_, told, _ = strings.Cut(told, "=")
		told += fmt.Sprintf(", %s → %s", seen.status.RequestedLifetime, seen.status.GrantedLifetime)
	}
	d.record("LifetimeClamped", "True Shortened, 1m → 20s", told, said)
	return nil
}

// longestRenewal is how long the demo waits for a renewal that comes by itself.
const longestRenewal = 2 * time.Minute

// renewed waits for the first renewal.
func (d *demo) renewed(ctx context.Context) error {
	before := d.look(ctx, "web")
	due := patience
	if renewal := before.status.RenewalTime; renewal != nil {
		due += time.Until(renewal.Time)
		d.say.text("The status says when: at %s, when about a third of the token's life is left. Waiting for that.", clockTime(renewal.Time))
	}
	if due > longestRenewal {
		d.say.text("That is long to wait for. It can be had on demand:")
		d.run(ctx, `kubectl annotate rtok web reactor.inc/renew-requested-at="$(date)"`)
		due = patience
	}
	began := time.Now()
	after, ok := d.await(ctx, "web", due, func(now look) bool { return now.valid() && before.secret != nil && !now.sameToken(before) })
	if ok {
		d.say.good("renewed after %s of waiting, %s before the old one would have expired. %s",
			seconds(after.at.Sub(began)), seconds(before.expiresAt.Sub(after.at)), after.continuity())
	}
	d.run(ctx, "kubectl get rtok web")

	d.recordRenewal(before, d.look(ctx, "web"))
	return nil
}

// recordRenewal compares the token before the renewal with the one after it.
func (d *demo) recordRenewal(before, after look) {
	if before.secret == nil || after.status.IssuedTime == nil {
		d.record("renewal", "another token", after.holding(), false)
		return
	}
	expected := "another before " + clockTime(before.expiresAt)
	if !after.valid() || after.sameToken(before) {
		d.record("renewal", expected, "still "+after.holding(), false)
		return
	}
	issued := after.status.IssuedTime.Time
	seen := fmt.Sprintf("%s → %s, %s", before.name(), after.name(), clockTime(issued))
	d.record("renewal", expected, seen, issued.Before(before.expiresAt))
}

// deleted deletes the Secret.
func (d *demo) deleted(ctx context.Context) error {
	before := d.look(ctx, "web")
	began := time.Now()
	d.run(ctx, "kubectl delete secret web")
	another := func(now look) bool {
		return now.ready() && before.secret != nil && now.secret.UID != before.secret.UID && !now.sameToken(before)
	}
	if seen, ok := d.await(ctx, "web", patience, another); ok {
		d.say.good("there is another one after %s, with another token", seconds(seen.at.Sub(began)))
	}
	d.run(ctx, "kubectl get secret web")

	seen := d.look(ctx, "web")
	held := seen.holding()
	if seen.valid() && before.secret != nil {
		held = fmt.Sprintf("%s → %s, valid %s", short(string(before.secret.UID)), short(string(seen.secret.UID)), seen.left())
	}
	d.record("Secret deleted", "another, with a valid token", held, another(seen))
	return nil
}
