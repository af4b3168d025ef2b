package v1alpha1_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestTheAPIKeyIsUnderItsUsualKeyUnlessSaidOtherwise(t *testing.T) {
	for name, test := range map[string]struct {
		reference v1alpha1.APIKeySecretReference
		want      string
	}{
		"omitted": {v1alpha1.APIKeySecretReference{Name: "reactor"}, "api-key"},
		"given":    {v1alpha1.APIKeySecretReference{Name: "reactor", Key: "prod"}, "prod"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.reference.EffectiveKey(); got != test.want {
				t.Errorf("the key is %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheLifetimeIsReactorsCeilingUnlessSaidOtherwise(t *testing.T) {
	for name, test := range map[string]struct {
		lifetime v1alpha1.Duration
		want     time.Duration
	}{
		"omitted":                             {"", 6 * time.Hour},
		"given":                                {"1h30m", 90 * time.Minute},
		"a requested lifetime over the maximum": {"12h", 12 * time.Hour},
		"what the API server should have refused": {"6hrs", 6 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.ReactorTokenSpec{Lifetime: test.lifetime}
			if got := spec.EffectiveLifetime(); got != test.want {
				t.Errorf("the lifetime is %v, want %v", got, test.want)
			}
		})
	}
}

func TestTheSecretHasTheNameOfItsTokenUnlessSaidOtherwise(t *testing.T) {
	for name, test := range map[string]struct{ secret, want string }{
		"omitted": {"", "web"},
		"given":    {"web-reactor", "web-reactor"},
	} {
		t.Run(name, func(t *testing.T) {
			token := v1alpha1.ReactorToken{
				ObjectMeta: metav1.ObjectMeta{Name: "web"},
				Spec:       v1alpha1.ReactorTokenSpec{Secret: v1alpha1.TargetSecret{Name: test.secret}},
			}
			if got := token.TargetSecretName(); got != test.want {
				t.Errorf("the Secret is %q, want %q", got, test.want)
			}
		})
	}
}

func TestATokenIsSuspendedOnlyWhenSaidSo(t *testing.T) {
	for name, test := range map[string]struct {
		suspend *bool
		want    bool
	}{
		"omitted": {nil, false},
		"false":    {new(false), false},
		"true":     {new(true), true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.ReactorTokenSpec{Suspend: test.suspend}
			if got := spec.Suspended(); got != test.want {
				t.Errorf("suspended is %t, want %t", got, test.want)
			}
		})
	}
}
