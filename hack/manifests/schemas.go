package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// A schema is a JSON schema.
type schema = map[string]any

// definitions is the prefix of a reference to a definition.
const definitions = "#/definitions/"

// writeSchemas writes a schema for each kind into a folder, and returns the location for kubeconform. The schemas of Kubernetes come from the
// OpenAPI document in the module from which the tests build their API server.
func writeSchemas(ctx context.Context, repository, folder string) (location string, err error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes")
	command.Dir, command.Stderr = filepath.Join(repository, "test", "infra", "cluster"), os.Stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("download the module k8s.io/kubernetes: %w\n%s", err, output)
	}
	var module struct {
		Dir string `json:"Dir"`
	}
	if err := json.Unmarshal(output, &module); err != nil {
		return "", err
	}
	openAPI, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return "", err
	}
	if err := writeKubernetesSchemas(openAPI, folder); err != nil {
		return "", fmt.Errorf("create schemas from the OpenAPI document of Kubernetes: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(repository, "config", "crd", "bases", "*.yaml"))
	if err != nil {
		return "", err
	}
	// The parts of the Prometheus Operator's CRDs that the tests need. They accept every object.
	for _, file := range append(files, filepath.Join(repository, "test", "chart", "testdata", "monitoring_crds.yaml")) {
		crds, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		for document := range bytes.SplitSeq(crds, []byte("\n---\n")) {
			if err := writeCRDSchemas(document, folder); err != nil {
				return "", fmt.Errorf("create schemas from %s: %w", file, err)
			}
		}
	}
	return filepath.Join(folder, "{{.Group}}-{{.ResourceAPIVersion}}-{{.ResourceKind}}.json"), nil
}

// fileOf returns the name of a schema's file. It matches the location above.
func fileOf(group, version, kind string) string {
	if group == "" {
		group = version // the name of the core group in kubeconform
	}
	return strings.Join([]string{group, version, strings.ToLower(kind)}, "-") + ".json"
}

func write(folder, name string, s schema) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name), text, 0o600)
}

// groupVersionKind is the kind of a definition in the OpenAPI document.
type groupVersionKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// writeKubernetesSchemas writes a schema for each kind of Kubernetes.
func writeKubernetesSchemas(openAPI []byte, folder string) error {
	var document struct {
		Definitions map[string]schema `json:"definitions"`
	}
	var kinds struct {
		Definitions map[string]struct {
			Kinds []groupVersionKind `json:"x-kubernetes-group-version-kind"`
		} `json:"definitions"`
	}
	if err := errors.Join(json.Unmarshal(openAPI, &document), json.Unmarshal(openAPI, &kinds)); err != nil {
		return err
	}
	for name, definition := range document.Definitions {
		forbidUnknownFields(definition)
		switch name {
		case "io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity":
			// OpenAPI 2 has one type for each value, and these have two.
			document.Definitions[name] = schema{"type": []string{"string", "number"}}
		}
	}
	for name, definition := range kinds.Definitions {
		needed := map[string]schema{}
		if err := collect(document.Definitions, name, needed); err != nil {
			return err
		}
		for _, kind := range definition.Kinds {
			if err := write(folder, fileOf(kind.Group, kind.Version, kind.Kind), schema{"$ref": definitions + name, "definitions": needed}); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect copies a definition, and those that it refers to.
func collect(from map[string]schema, name string, into map[string]schema) error {
	if into[name] != nil {
		return nil
	}
	definition := from[name]
	if definition == nil {
		return fmt.Errorf("there is no definition %s", name)
	}
	into[name] = definition
	var err error
	walk(definition, func(s schema) {
		if reference, ok := s["$ref"].(string); ok && err == nil {
			err = collect(from, strings.TrimPrefix(reference, definitions), into)
		}
	})
	return err
}

// writeCRDSchemas writes a schema for each version of a CustomResourceDefinition.
func writeCRDSchemas(document []byte, folder string) error {
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(document, &crd); err != nil {
		return err
	}
	for _, version := range crd.Spec.Versions {
		forbidUnknownFields(version.Schema.OpenAPIV3Schema)
		if err := write(folder, fileOf(crd.Spec.Group, version.Name, crd.Spec.Names.Kind), version.Schema.OpenAPIV3Schema); err != nil {
			return err
		}
	}
	return nil
}

// forbidUnknownFields makes a schema reject unknown fields, as the API server does when a client requests strict validation.
func forbidUnknownFields(root schema) {
	walk(root, func(s schema) {
		_, isObject := s["properties"].(map[string]any)
		if isObject && s["additionalProperties"] == nil && s["x-kubernetes-preserve-unknown-fields"] != true {
			s["additionalProperties"] = false
		}
	})
}

// walk visits a schema and all in it.
func walk(node any, visit func(schema)) {
	switch node := node.(type) {
	case map[string]any:
		visit(node)
		for _, child := range node {
			walk(child, visit)
		}
	case []any:
		for _, child := range node {
			walk(child, visit)
		}
	}
}
