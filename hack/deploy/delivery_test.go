package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAClusterThatTakesNoArchiveNeedsARegistry(t *testing.T) {
	_, err := chooseDelivery(target{context: "production", server: "https://k8s.example.com"}, "", "v1")
	for _, want := range []string{`"production"`, "REGISTRY=registry.example.com/team", "docker login", "not published"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
}

func TestWhatIsBuiltAndInstalledFollowsFromTheDelivery(t *testing.T) {
	digests := map[string]string{operatorImage: "sha256:aa", tokenServerImage: "sha256:bb", emulatorImage: "sha256:cc"}
	tests := map[string]struct {
		target     target
		registry   string
		what       installation
		wantMake   string
		wantValues string
	}{
		"loaded into kind": {
			target: target{kind: kindCluster, name: "dev"}, what: operatorInstallation,
			wantMake: "image PLATFORMS=amd64 VERSION=v1 IMAGE=ghcr.io/reactor-operator/reactor-operator:v1 " +
				"TOKEN_SERVER_IMAGE=ghcr.io/reactor-operator/reactor-token-server:v1 EMULATOR_IMAGE=ghcr.io/reactor-operator/reactor-emulator:v1",
			wantValues: `{
				"fullnameOverride": "reactor-operator", "commonLabels": {"reactor.inc/installed-by": "make-deploy"},
				"image": {"registry": "ghcr.io", "repository": "reactor-operator/reactor-operator", "tag": "v1", "pullPolicy": "Never"},
				"tokenServer": {"image": {"repository": "reactor-operator/reactor-token-server"}},
				"podAnnotations": {"reactor.inc/image-digest": "sha256:aa"}}`,
		},
		"pushed, because the cluster pulls": {
			target: target{}, registry: "registry.example.com/team/", what: operatorInstallation,
			wantMake: "image-push PLATFORMS=amd64 VERSION=v1 IMAGE=registry.example.com/team/reactor-operator:v1 " +
				"TOKEN_SERVER_IMAGE=registry.example.com/team/reactor-token-server:v1 EMULATOR_IMAGE=registry.example.com/team/reactor-emulator:v1",
			wantValues: `{
				"fullnameOverride": "reactor-operator", "commonLabels": {"reactor.inc/installed-by": "make-deploy"},
				"image": {"registry": "registry.example.com", "repository": "team/reactor-operator", "tag": "v1", "digest": "sha256:aa", "pullPolicy": "IfNotPresent"},
				"tokenServer": {"image": {"repository": "team/reactor-token-server", "digest": "sha256:bb"}},
				"podAnnotations": {"reactor.inc/image-digest": "sha256:aa"}}`,
		},
		"a trial, pushed to a registry without folders, because the user says so": {
			target: target{kind: kindCluster}, registry: "localhost:5000", what: trialInstallation,
			wantMake: "image-push PLATFORMS=amd64 VERSION=v1 IMAGE=localhost:5000/reactor-operator:v1 " +
				"TOKEN_SERVER_IMAGE=localhost:5000/reactor-token-server:v1 EMULATOR_IMAGE=localhost:5000/reactor-emulator:v1",
			wantValues: `{
				"fullnameOverride": "reactor-try", "commonLabels": {"reactor.inc/installed-by": "make-try"},
				"allowPromptDelivery": true,
				"image": {"registry": "localhost:5000", "repository": "reactor-operator", "tag": "v1", "digest": "sha256:aa", "pullPolicy": "IfNotPresent"},
				"tokenServer": {"image": {"repository": "reactor-token-server", "digest": "sha256:bb"}},
				"developmentEmulator": {"enabled": true,
					"image": {"registry": "localhost:5000", "repository": "reactor-emulator", "tag": "v1", "digest": "sha256:cc", "pullPolicy": "IfNotPresent"}},
				"podAnnotations": {"reactor.inc/image-digest": "sha256:aa"}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := chooseDelivery(test.target, test.registry, "v1")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(d.makeArgs([]string{"amd64"}), " "); got != test.wantMake {
				t.Errorf("make is called with\n%s, want\n%s", got, test.wantMake)
			}
			if diff := cmp.Diff(decoded(t, test.wantValues), decoded(t, encoded(t, test.what.values(d, digests)))); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheTrialRunsTheImageThatWasDelivered(t *testing.T) {
	tests := map[string]struct {
		delivery  delivery
		wantImage string
	}{
		"loaded": {
			delivery{prefix: published, version: "v1"},
			`{"name": "ghcr.io/reactor-operator/reactor-emulator", "newName": "ghcr.io/reactor-operator/reactor-emulator", "newTag": "v1"}`,
		},
		"pushed": {
			delivery{prefix: "registry.example.com/team", version: "v1", push: true},
			`{"name": "ghcr.io/reactor-operator/reactor-emulator", "newName": "registry.example.com/team/reactor-emulator", "digest": "sha256:cc"}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decoded(t, encoded(t, test.delivery.kustomization("sha256:cc")["images"]))
			if diff := cmp.Diff(decoded(t, "["+test.wantImage+"]"), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}
