package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// The hashes stand in the Secrets of running installations: if one of these changes, an upgrade of the operator mints every
// such token anew. A field that is added to the API gets cases of its own, and leaves these as they are.
func TestRequestHashesDoNotChange(t *testing.T) {
	tests := []struct {
		name string
		spec v1alpha1.ReactorTokenSpec
		want string
	}{
		{"nothing but the defaults", v1alpha1.ReactorTokenSpec{}, "6678057d347f3ffde5ef2e46ce582ce2"},
		{"a lifetime", v1alpha1.ReactorTokenSpec{Lifetime: "1h"}, "de3ad7cf798056c1c78ec00b17190970"},
		{"a scope", v1alpha1.ReactorTokenSpec{Scope: &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"reactor/helios"}}}, "050ceac8671a0b4367af19b6c8a31e62"},
		{"a scope with all limits", v1alpha1.ReactorTokenSpec{Lifetime: "30m", Scope: &v1alpha1.TokenScope{
			Models: []v1alpha1.ModelName{"reactor/helios", "acme/own"}, MaxSessions: 10, MaxSessionDuration: "20m"}}, "1c8c194aa4535045d63f3650827e1ad2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, requestHash(&test.spec)); diff != "" {
				t.Errorf("hash (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhichChangesOfTheSpecChangeTheRequest(t *testing.T) {
	scoped := func(models ...v1alpha1.ModelName) *v1alpha1.TokenScope { return &v1alpha1.TokenScope{Models: models} }
	base := v1alpha1.ReactorTokenSpec{Lifetime: "6h", Scope: scoped("a/1", "b/2")}
	tests := []struct {
		name   string
		change func(*v1alpha1.ReactorTokenSpec)
		same   bool
	}{
		{"with the models in another order", func(s *v1alpha1.ReactorTokenSpec) { s.Scope = scoped("b/2", "a/1") }, true},
		{"with the default written out", func(s *v1alpha1.ReactorTokenSpec) { s.Lifetime = "" }, true},
		{"with the lifetime in another unit", func(s *v1alpha1.ReactorTokenSpec) { s.Lifetime = "360m" }, true},
		{"with another renewBefore", func(s *v1alpha1.ReactorTokenSpec) { s.RenewBefore = "10m" }, true},
		{"with another Secret and other keys", func(s *v1alpha1.ReactorTokenSpec) {
			s.Secret = v1alpha1.TargetSecret{Name: "other", AdditionalKeys: []v1alpha1.AdditionalKey{{Name: "a", Format: v1alpha1.FormatEnv}}}
		}, true},
		{"with another API key", func(s *v1alpha1.ReactorTokenSpec) { s.APIKeySecretRef.Name = "other" }, true},
		{"while suspended", func(s *v1alpha1.ReactorTokenSpec) { s.Suspend = new(true) }, true},
		{"with workloads to restart and pods to prompt", func(s *v1alpha1.ReactorTokenSpec) {
			s.Restart, s.PromptDelivery = []v1alpha1.WorkloadReference{{}}, &v1alpha1.PromptDelivery{}
		}, true},
		{"with another lifetime", func(s *v1alpha1.ReactorTokenSpec) { s.Lifetime = "5h" }, false},
		{"without a scope", func(s *v1alpha1.ReactorTokenSpec) { s.Scope = nil }, false},
		{"with a model less", func(s *v1alpha1.ReactorTokenSpec) { s.Scope = scoped("a/1") }, false},
		{"with a limit of sessions", func(s *v1alpha1.ReactorTokenSpec) { s.Scope.MaxSessions = 1 }, false},
		{"with a limit of their duration", func(s *v1alpha1.ReactorTokenSpec) { s.Scope.MaxSessionDuration = "1m" }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changed := *base.DeepCopy()
			test.change(&changed)
			if same := requestHash(&base) == requestHash(&changed); same != test.same {
				t.Errorf("the hash is the same: %v, want %v", same, test.same)
			}
			if diff := cmp.Diff([]v1alpha1.ModelName{"a/1", "b/2"}, base.Scope.Models); diff != "" {
				t.Errorf("the spec itself was sorted:\n%s", diff)
			}
		})
	}
}

func TestMintRequestOf(t *testing.T) {
	spec := &v1alpha1.ReactorTokenSpec{Lifetime: "30m", Scope: &v1alpha1.TokenScope{
		Models: []v1alpha1.ModelName{"reactor/helios", "acme/own"}, MaxSessions: 10, MaxSessionDuration: "20m"}}
	want := reactor.MintRequest{APIKey: firstKey, Lifetime: 30 * time.Minute, Scope: &reactor.Scope{
		Models: []string{"reactor/helios", "acme/own"}, MaxSessions: 10, MaxSessionDuration: 20 * time.Minute}}
	if diff := cmp.Diff(want, mintRequestOf(spec, firstKey)); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if got := mintRequestOf(&v1alpha1.ReactorTokenSpec{}, firstKey); got.Scope != nil || got.Lifetime != 6*time.Hour {
		t.Errorf("without a wish, the request is %v", got)
	}
}
