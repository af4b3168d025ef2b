// Command trim-crd removes the descriptions of a pod's fields from CRDs that embed a pod template. They are in the documentation of
// Kubernetes, and they make the CRD too large for a client-side kubectl apply (262,144 bytes in an annotation). The schema itself
// stays complete, so that the API server rejects a typo in a container.
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

// trimFile rewrites a CRD. A CRD that embeds no pod template stays unchanged.
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

// at returns a nested object, or nil if it does not exist.
func at(from map[string]any, path ...string) map[string]any {
	for _, name := range path {
		from, _ = from[name].(map[string]any)
	}
	return from
}

// dropDescriptions removes them from a schema and from all schemas inside it. A property with the name description is an object, because it
// is a schema itself. It stays.
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
