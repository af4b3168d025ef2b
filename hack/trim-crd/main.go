// Command trim-crd takes the descriptions of a pod's fields out of CRDs that embed a pod template: they are Kubernetes' own, stand
// in its documentation, and make the CRD too large for a client-side kubectl apply (262,144 bytes in an annotation). The schema
// itself stays whole, so that a typo in a container is refused.
//
// Usage: trim-crd FILE…
package main

import (
	"bytes"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := trimFile(path); err != nil {
			fmt.Fprintf(os.Stderr, "trim-crd: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

// trimFile rewrites a CRD. One that embeds no pod template stays as it is.
func trimFile(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(content, &crd); err != nil {
		return err
	}
	versions, _ := at(crd, "spec")["versions"].([]any)
	trimmed := false
	for _, version := range versions {
		schema, _ := version.(map[string]any)
		template := at(schema, "schema", "openAPIV3Schema", "properties", "spec", "properties", "template", "properties")
		for _, part := range template {
			dropDescriptions(part)
			trimmed = true
		}
	}
	if !trimmed {
		return nil
	}
	written, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("---\n"), bytes.TrimLeft(written, "\n")...), 0o644)
}

// at walks into nested objects; it is nil where there is none.
func at(from map[string]any, path ...string) map[string]any {
	for _, name := range path {
		from, _ = from[name].(map[string]any)
	}
	return from
}

// dropDescriptions removes them from a schema and from all schemas inside it. A property that is called description is a schema
// itself, and so an object: it stays.
func dropDescriptions(schema any) {
	switch node := schema.(type) {
	case map[string]any:
		if _, isText := node["description"].(string); isText {
			delete(node, "description")
		}
		for _, inside := range node {
			dropDescriptions(inside)
		}
	case []any:
		for _, inside := range node {
			dropDescriptions(inside)
		}
	}
}
