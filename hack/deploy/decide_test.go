package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAClusterThatIsNotLocalIsChangedOnlyWithConsent(t *testing.T) {
	local, remote := target{local: true}, target{}
	tests := map[string]struct {
		target        target
		yes, terminal bool
		want          consent
	}{
		"local":                           {target: local, want: granted},
		"local, on a terminal":            {target: local, terminal: true, want: granted},
		"remote, on a terminal":           {target: remote, terminal: true, want: mustAsk},
		"remote, with YES=1":              {target: remote, yes: true, want: granted},
		"remote, YES=1 on a terminal":     {target: remote, yes: true, terminal: true, want: granted},
		"remote, no terminal, no YES=1": {target: remote, want: refused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := needConsent(test.target, test.yes, test.terminal); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestASecondOperatorInAClusterIsRefusedWithAdvice(t *testing.T) {
	const crd = "reactortokens.reactor.inc"
	deployed := owner{crd: crd, release: "reactor-operator", namespace: "reactor-operator-system", mark: "make-deploy"}
	tried := owner{crd: crd, release: "reactor-try", namespace: "reactor-try-system", mark: "make-try"}
	tests := map[string]struct {
		what   installation
		owners []owner
		want   string // in the error; empty: none
	}{
		"a clean cluster":                     {what: trialInstallation},
		"the same again":                      {what: operatorInstallation, owners: []owner{deployed}},
		"the same trial again":                {what: trialInstallation, owners: []owner{tried}},
		"a trial next to make deploy":         {what: trialInstallation, owners: []owner{deployed}, want: "`make undeploy`"},
		"make deploy next to a trial":         {what: operatorInstallation, owners: []owner{tried}, want: "`make try-down`"},
		"a trial next to CRDs of kubectl":     {what: trialInstallation, owners: []owner{{crd: crd}}, want: "`make uninstall`"},
		"make deploy next to CRDs of kubectl": {what: operatorInstallation, owners: []owner{{crd: crd}}, want: "without Helm"},
		"another release":                     {what: trialInstallation, owners: []owner{{crd: crd, release: "ours", namespace: "platform"}}, want: `"ours" in namespace "platform"`},
		"the same name elsewhere":             {what: operatorInstallation, owners: []owner{{crd: crd, release: "reactor-operator", namespace: "x"}}, want: `namespace "x"`},
		"a release of that name by hand": {
			what: operatorInstallation, owners: []owner{{crd: crd, release: "reactor-operator", namespace: "reactor-operator-system"}}, want: "uninstall it first",
		},
		"one of two CRDs": {what: trialInstallation, owners: []owner{tried, deployed}, want: "`make undeploy`"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkOwners(test.what, test.owners)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "Nothing was changed") {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestImagesAreBuiltForTheNodes(t *testing.T) {
	tests := map[string]struct {
		nodes   []string
		push    bool
		want    []string
		wantErr string
	}{
		"one":                   {nodes: []string{"arm64"}, want: []string{"arm64"}},
		"three of a kind":       {nodes: []string{"amd64", "amd64", "amd64"}, want: []string{"amd64"}},
		"mixed, by a registry":  {nodes: []string{"arm64", "amd64", "arm64"}, push: true, want: []string{"amd64", "arm64"}},
		"mixed, by an archive":  {nodes: []string{"arm64", "amd64"}, wantErr: "REGISTRY="},
		"no Linux node at all":  {wantErr: "no Linux node"},
		"none, with a registry": {push: true, wantErr: "no Linux node"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := checkArchitectures(test.nodes, test.push)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if (err != nil) != (test.wantErr != "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("the error is %v, want one with %q", err, test.wantErr)
			}
		})
	}
}

func TestARemovalListsWhatGoesAndWhatStays(t *testing.T) {
	mine := owner{crd: "reactortokens.reactor.inc", release: "reactor-operator", namespace: "reactor-operator-system", mark: "make-deploy"}
	other := owner{crd: "reactortokens.reactor.inc", release: "ours", namespace: "platform"}
	tests := map[string]struct {
		found                    found
		wantDescribed, wantStays []string
		wantNothing              bool
	}{
		"all of it": {
			found: found{
				release: true, owned: []owner{mine}, tokens: []string{"a/web", "b/web"}, sessions: []string{"a/night"},
				namespaces: []string{"reactor-operator-system"},
			},
			wantDescribed: []string{
				`the Helm release "reactor-operator" in namespace "reactor-operator-system"; sessions are ended first`,
				"the CRD reactortokens.reactor.inc",
				"ReactorToken a/web and its Secret",
				"ReactorToken b/web and its Secret",
				"ReactorSession a/night",
				"the namespace reactor-operator-system with all its objects",
			},
		},
		"what helm uninstall has left": {
			found:         found{owned: []owner{mine}, tokens: []string{"a/web"}, kept: []string{"reactor-operator-system"}},
			wantDescribed: []string{"the CRD reactortokens.reactor.inc", "ReactorToken a/web and its Secret"},
			wantStays:     []string{"the namespace reactor-operator-system is kept: it existed before"},
		},
		"next to another installation": {
			found:       found{foreign: []owner{other}, tokens: []string{"a/web"}},
			wantStays:   []string{`the CRD reactortokens.reactor.inc and its objects are kept: it belongs to the Helm release "ours" in namespace "platform"`},
			wantNothing: true,
		},
		"nothing": {wantNothing: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.wantDescribed, test.found.describe(operatorInstallation)); diff != "" {
				t.Errorf("what goes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantStays, test.found.remaining()); diff != "" {
				t.Errorf("what stays (-want +got):\n%s", diff)
			}
			if got := test.found.nothing(); got != test.wantNothing {
				t.Errorf("nothing: %t", got)
			}
		})
	}
}

func TestAPodThatCannotStartIsNotWaitedFor(t *testing.T) {
	tests := map[string]bool{
		"ErrImageNeverPull": true, "ImagePullBackOff": true, "CrashLoopBackOff": true, "CreateContainerConfigError": true,
		"ContainerCreating": false, "ErrImagePull": false, "": false,
	}
	for reason, hopeless := range tests {
		state := corev1.ContainerState{}
		if reason != "" {
			state.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "reactor-operator-1"},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "manager", State: state}}},
		}
		if got := podProblem(pod); (got != "") != hopeless || hopeless && !strings.Contains(got, reason+": why") {
			t.Errorf("%q: %q", reason, got)
		}
	}
}
