package sim

import (
	"context"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/emulator/grant"
)

// checkTokens judges every ReactorToken that people made.
func (j *judge) checkTokens() {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := j.world.people.List(context.Background(), tokens, client.InNamespace(namespace)); err != nil {
		return
	}
	j.checkTimes(tokens.Items)
	for i := range tokens.Items {
		token := &tokens.Items[i]
		if secret := j.world.secret(token.TargetSecretName()); j.isJudged(token, secret) {
			j.checkToken(token, secret)
		}
	}
}

// isJudged reports whether a ReactorToken is people's, is to stay, and is one that the operator can know all of.
func (j *judge) isJudged(token *v1alpha1.ReactorToken, secret *corev1.Secret) bool {
	return isToken(token.Name) && token.DeletionTimestamp == nil && !j.isBlind(j.circumstancesOf(token.Name, secret))
}

func (j *judge) checkToken(token *v1alpha1.ReactorToken, secret *corev1.Secret) {
	now, a := time.Now(), j.accounts.of(token.Name)
	scopes := []string{everything, ofToken(token.Name)}
	j.checkTruth(token, secret)
	j.checkReasons(token)
	if token.Spec.Suspended() || j.waitsForRetry(token, secret) || j.waitsForKey(token, secret) {
		return
	}
	scopes = append(scopes, atReactor, ofKey(token.Spec.APIKeySecretRef.Name))
	fine := j.weather.isFine(now, scopes...)
	claims, problem := j.validIn(secret)
	switch {
	case problem != "" && fine:
		j.broken(ruleValid, "Secret %s: %s: %s", token.TargetSecretName(), problem, describe(token))
	case problem != "" && j.hadReserve(a, scopes...):
		j.broken(ruleValid, "Secret %s: %s, although there was time to renew it: %s", token.TargetSecretName(), problem, describe(token))
	case problem == "" && fine:
		j.checkCurrent(token, secret, claims)
		a.settle()
	}
}

// validIn looks for a token in a Secret that Reactor takes.
func (j *judge) validIn(secret *corev1.Secret) (claims grant.Claims, problem string) {
	if secret == nil {
		return claims, "there is none"
	}
	claims, err := j.world.reactor.Verify(string(secret.Data["jwt"]))
	if err != nil {
		return claims, err.Error()
	}
	return claims, ""
}

// hadReserve reports whether a token expired although nothing was out of order any more for half of the time in which it was to be
// renewed, and long enough for what waits a minute after an outage.
func (j *judge) hadReserve(a *account, scopes ...string) bool {
	const least = 100 * time.Second
	reserve := a.expiry.Sub(a.issued) / 3
	if left := a.expiry.Sub(j.world.reactor.Now()); left > 0 || a.expiry.IsZero() || a.ownRenewBefore || a.edited || reserve < least {
		return false
	}
	expired := time.Now().Add(-j.world.reactor.Now().Sub(a.expiry))
	cleared, ended := j.weather.clearedAt(scopes...)
	return ended && !cleared.After(expired.Add(-max(reserve/2, least)))
}

// checkCurrent compares the token with what is asked for.
func (j *judge) checkCurrent(token *v1alpha1.ReactorToken, secret *corev1.Secret, claims grant.Claims) {
	if key, minted := j.world.keyIn(token.Spec.APIKeySecretRef.Name), j.accounts.minted[claims.ID].key; minted != emulator.Fingerprint(key) {
		j.broken(ruleCurrent, "the token of %s was minted with the key %s, and the key is another: %s", token.Name, minted, describe(token))
	}
	if want := token.Spec.EffectiveLifetime(); claims.ExpiresAt.Sub(claims.IssuedAt.Time) > want+time.Second {
		j.broken(ruleCurrent, "the token of %s lives %s, and %s is asked for", token.Name, claims.ExpiresAt.Sub(claims.IssuedAt.Time), want)
	}
	if scope := token.Spec.Scope; len(claims.AuthorizationDetails) != 1 || *claims.AuthorizationDetails[0].Constraints.MaxSessions != int64(scope.MaxSessions) {
		j.broken(ruleCurrent, "the token of %s has another scope than the one that is asked for", token.Name)
	}
	for _, extra := range token.Spec.Secret.AdditionalKeys {
		if len(secret.Data[extra.Name]) == 0 {
			j.broken(ruleCurrent, "Secret %s has no %s", secret.Name, extra.Name)
		}
	}
}

// waits are the reasons for which the next attempt has a time. Of the tokens that wait for a key, only the one that tries it has: see checkTimes.
var waits = []string{
	v1alpha1.ReasonReactorUnavailable, v1alpha1.ReasonRequestRefused, v1alpha1.ReasonMintBudgetSpent, v1alpha1.ReasonSecretWriteRefused,
}

// checkTruth compares what status tells with what the Secret holds, unless something is out of order.
func (j *judge) checkTruth(token *v1alpha1.ReactorToken, secret *corev1.Secret) {
	if !j.weather.isFine(time.Now(), everything, ofToken(token.Name)) {
		return
	}
	held, minted := heldFor(token, secret), j.circumstancesOf(token.Name, secret)
	if minted.edited {
		held = time.Time{}
	}
	ready := meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
	now := j.world.reactor.Now()
	switch {
	case held.IsZero() && ready:
		j.broken(ruleTruth, "%s is Ready, and there is no token of it: %s", token.Name, describe(token))
	case held.IsZero():
	case ready && now.Sub(held) > afterChange:
		j.broken(ruleTruth, "%s is Ready, and its token expired %s ago: %s", token.Name, now.Sub(held), describe(token))
	case !ready && held.Sub(now) > 2*time.Second && !j.isAhead(minted):
		j.broken(ruleTruth, "%s is not Ready, and its token is valid for %s: %s", token.Name, held.Sub(now), describe(token))
	case token.Status.ExpirationTime == nil || !token.Status.ExpirationTime.Time.Equal(held):
		j.broken(ruleTruth, "%s tells the expiry %v, and its token has %s", token.Name, token.Status.ExpirationTime, held)
	}
	if token.Status.ObservedGeneration != token.Generation && j.weather.isFine(time.Now(), atReactor) { // calls that hang take the workers
		j.broken(ruleTruth, "the status of %s is of generation %d, and it is at %d", token.Name, token.Status.ObservedGeneration, token.Generation)
	}
	renewed := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRenewed)
	waiting := renewed != nil && renewed.Status == metav1.ConditionFalse && slices.Contains(waits, renewed.Reason) && !token.Spec.Suspended()
	if waiting && token.Status.NextAttemptTime == nil && j.weather.isFine(time.Now(), atReactor) { // while another tries the key, it takes as long as that
		j.broken(ruleTruth, "%s waits (%s), and does not tell until when", token.Name, renewed.Reason)
	}
}

// heldFor is when the token expires that the Secret holds for an object; zero when it holds none, or not its.
func heldFor(token *v1alpha1.ReactorToken, secret *corev1.Secret) time.Time {
	if secret == nil || secret.DeletionTimestamp != nil || secret.Annotations[v1alpha1.TokenUIDAnnotation] != string(token.UID) {
		return time.Time{}
	}
	claims, ok := claimsIn(secret)
	if !ok {
		return time.Time{}
	}
	return claims.ExpiresAt.Time
}

// claimsIn reads what the token in a Secret says, whether it is valid or not.
func claimsIn(secret *corev1.Secret) (claims grant.Claims, ok bool) {
	if secret == nil {
		return claims, false
	}
	_, _, err := jwt.NewParser().ParseUnverified(string(secret.Data["jwt"]), &claims)
	return claims, err == nil && claims.ExpiresAt != nil
}

// describe tells how a token stands.
func describe(token *v1alpha1.ReactorToken) string {
	text := ""
	for _, c := range token.Status.Conditions {
		text += c.Type + "=" + string(c.Status) + "/" + c.Reason + " "
	}
	if next := token.Status.NextAttemptTime; next != nil {
		text += "next attempt " + next.UTC().Format(time.TimeOnly)
	}
	return text
}
