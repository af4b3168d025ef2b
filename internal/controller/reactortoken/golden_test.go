package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// The values in this file are stored in the Secrets of running installations. None of them is computed by the code under test. When one of
// these tests fails, an upgrade of the operator would take every Secret for edited, and mint every token again: change the code, not the
// values.

// goldenJWT is a text, not a token.
const goldenJWT reactor.Secret = "not-a-token.golden.value"

// goldenToken is a ReactorToken of the user, before the changes.
func goldenToken(changes ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{
		Namespace: "studio", Name: "web", UID: "5b6a4f6e-0000-4000-8000-000000000001", Generation: 1,
	}}
	token.Spec.APIKeySecretRef.Name = "reactor-api-key"
	for _, change := range changes {
		change(token)
	}
	return token
}

func goldenScoped(token *v1alpha1.ReactorToken) {
	token.Annotations = map[string]string{"reactor.inc/renew-requested-at": "2026-03-01T11:59:00Z"}
	token.Spec.Lifetime = "30m"
	token.Spec.Scope = &v1alpha1.TokenScope{
		Models: []v1alpha1.ModelName{"reactor/helios", "acme/own"}, MaxSessions: 10, MaxSessionDuration: "20m",
	}
	token.Spec.Secret = v1alpha1.TargetSecret{
		Name:           "scoped",
		DeletionPolicy: v1alpha1.DeletionRetain,
		Labels:         map[string]v1alpha1.LabelValue{"team": "media"},
		Annotations:    map[string]v1alpha1.AnnotationValue{"example.com/team": "media"},
		AdditionalKeys: []v1alpha1.AdditionalKey{
			{Name: "header", Format: v1alpha1.FormatAuthorizationHeader},
			{Name: "token.env", Format: v1alpha1.FormatEnv},
			{Name: "token.json", Format: v1alpha1.FormatJSON},
		},
	}
}

// goldenMint is the token that Reactor issued for a ReactorToken, with what the operator records of the request.
func goldenMint(token *v1alpha1.ReactorToken, skew time.Duration) *pendingToken {
	issued := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &pendingToken{
		token:    reactor.Token{JWT: goldenJWT, IssuedAt: issued, ExpiresAt: issued.Add(token.Spec.EffectiveLifetime()), ReceivedAt: issued, Skew: skew},
		tokenID:  "11111111-0000-4000-8000-000000000002",
		identity: targetsecret.RequestIdentity{RequestHash: requestHash(&token.Spec), KeyFingerprint: "0123456789abcdef", RenewRequest: renewRequestOf(token)},
	}
}

func TestChecksumsDoNotChange(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		of   *targetsecret.Record
		want string
	}{
		"of all fields": {&targetsecret.Record{
			TokenID: "token-1", IssuedAt: at, ExpiresAt: at.Add(6 * time.Hour), Skew: -1500 * time.Millisecond,
			KeyFingerprint: "0123456789abcdef", RequestHash: "6678057d347f3ffde5ef2e46ce582ce2", RenewRequest: "now", Checksum: "is not part of it",
		}, "d1ee9ebfff888ece33216404c4510da9"},
		"without a renew request and a skew": {&targetsecret.Record{
			TokenID: "token-1", IssuedAt: at, ExpiresAt: at.Add(6 * time.Hour),
			KeyFingerprint: "0123456789abcdef", RequestHash: "6678057d347f3ffde5ef2e46ce582ce2",
		}, "caa88947f241f10cfc29188fa27cb26b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := targetsecret.Checksum(goldenJWT, test.of); got != test.want {
				t.Errorf("checksum %s, want %s", got, test.want)
			}
		})
	}
}

func TestSecretsDoNotChange(t *testing.T) {
	tests := []struct {
		name    string
		token   *v1alpha1.ReactorToken
		skew    time.Duration
		adopted bool
		want    *corev1.Secret
	}{
		{name: "the defaults", token: goldenToken(), want: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "studio", Name: "web",
				Labels: map[string]string{"app.kubernetes.io/managed-by": "reactor-operator"},
				Annotations: map[string]string{
					"reactor.inc/clock-skew":      "0s",
					"reactor.inc/expires-at":      "2026-03-01T18:00:00Z",
					"reactor.inc/issued-at":       "2026-03-01T12:00:00Z",
					"reactor.inc/key-fingerprint": "0123456789abcdef",
					"reactor.inc/request-hash":    "6678057d347f3ffde5ef2e46ce582ce2",
					"reactor.inc/secret-name":     "web",
					"reactor.inc/token-checksum":  "eb2edec94e23acb20b605f8df23701ee",
					"reactor.inc/token-id":        "11111111-0000-4000-8000-000000000002",
					"reactor.inc/token-name":      "web",
					"reactor.inc/token-uid":       "5b6a4f6e-0000-4000-8000-000000000001",
				},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "reactor.inc/v1alpha1", Kind: "ReactorToken", Name: "web", UID: "5b6a4f6e-0000-4000-8000-000000000001", Controller: new(true),
				}},
			},
			Type: "Opaque",
			Data: map[string][]byte{"jwt": []byte("not-a-token.golden.value"), "expires_at": []byte("1772388000")},
		}},
		{name: "a scope, additional keys, labels, a renew request and Retain", token: goldenToken(goldenScoped), skew: -1500 * time.Millisecond, want: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "studio", Name: "scoped",
				Labels: map[string]string{"app.kubernetes.io/managed-by": "reactor-operator", "team": "media"},
				Annotations: map[string]string{
					"example.com/team":                  "media",
					"reactor.inc/clock-skew":            "-1.5s",
					"reactor.inc/deletion-policy":       "Retain",
					"reactor.inc/expires-at":            "2026-03-01T12:30:00Z",
					"reactor.inc/handled-renew-request": "2026-03-01T11:59:00Z",
					"reactor.inc/issued-at":             "2026-03-01T12:00:00Z",
					"reactor.inc/key-fingerprint":       "0123456789abcdef",
					"reactor.inc/request-hash":          "1c8c194aa4535045d63f3650827e1ad2",
					"reactor.inc/secret-name":           "scoped",
					"reactor.inc/token-checksum":        "b49028fa941f8cf7764fab4f0c2fa904",
					"reactor.inc/token-id":              "11111111-0000-4000-8000-000000000002",
					"reactor.inc/token-name":            "web",
					"reactor.inc/token-uid":             "5b6a4f6e-0000-4000-8000-000000000001",
				},
			},
			Type: "Opaque",
			Data: map[string][]byte{
				"jwt": []byte("not-a-token.golden.value"), "expires_at": []byte("1772368200"),
				"header":     []byte("Bearer not-a-token.golden.value"),
				"token.env":  []byte("REACTOR_JWT=not-a-token.golden.value\nREACTOR_JWT_EXPIRES_AT=1772368200\n"),
				"token.json": []byte(`{"jwt":"not-a-token.golden.value","expires_at":1772368200}`),
			},
		}},
		{name: "an adopted Secret", token: goldenToken(), adopted: true, want: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "studio", Name: "web",
				Labels: map[string]string{},
				Annotations: map[string]string{
					"reactor.inc/adopted":         "true",
					"reactor.inc/clock-skew":      "0s",
					"reactor.inc/expires-at":      "2026-03-01T18:00:00Z",
					"reactor.inc/issued-at":       "2026-03-01T12:00:00Z",
					"reactor.inc/key-fingerprint": "0123456789abcdef",
					"reactor.inc/request-hash":    "6678057d347f3ffde5ef2e46ce582ce2",
					"reactor.inc/secret-name":     "web",
					"reactor.inc/token-checksum":  "eb2edec94e23acb20b605f8df23701ee",
					"reactor.inc/token-id":        "11111111-0000-4000-8000-000000000002",
					"reactor.inc/token-name":      "web",
					"reactor.inc/token-uid":       "5b6a4f6e-0000-4000-8000-000000000001",
				},
			},
			Type: "Opaque",
			Data: map[string][]byte{"jwt": []byte("not-a-token.golden.value"), "expires_at": []byte("1772388000")},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			minted := goldenMint(test.token, test.skew)
			got := targetsecret.Build(test.token, minted.token.JWT, recordOfHeld(minted), test.adopted).Object()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Secret (-want +got):\n%s", diff)
			}
		})
	}
}
