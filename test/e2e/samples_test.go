package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Each manifest that users copy runs unchanged under Pod Security restricted, except for the image, which is their own.
func TestTheSampleSessionsRunUnderPodSecurityRestricted(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"config/samples/reactorsession-*.yaml", "examples/*/reactorsession.yaml"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil || len(found) < 2 {
			t.Fatalf("%d manifests match %s, %v", len(found), pattern, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			session := &v1alpha1.ReactorSession{}
			if err := yaml.UnmarshalStrict(text, session); err != nil {
				t.Fatal(err)
			}
			w := newSessionWorld(t)
			session.Namespace = w.namespace
			program := container(session)
			program.Image, program.Command, program.Args, program.Lifecycle = workerImage, nil, nil, nil
			w.create(session)
			w.runs(session.Name)
		})
	}
}
