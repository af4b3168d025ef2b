package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/yannh/kubeconform/pkg/validator"
	"github.com/zegl/kube-score/config"
	"github.com/zegl/kube-score/domain"
	"github.com/zegl/kube-score/parser"
	"github.com/zegl/kube-score/score"
	"github.com/zegl/kube-score/scorecard"
)

// lint checks all manifests, and prints their problems.
func lint(ctx context.Context, repository string, stdout io.Writer) (err error) {
	manifests, err := render(ctx, repository)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "schemas-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	location, err := writeSchemas(ctx, repository, folder)
	if err != nil {
		return err
	}
	validate, err := validator.New([]string{location}, validator.Opts{Strict: true})
	if err != nil {
		return err
	}
	var problems []string
	used := map[exemption]bool{}
	objects := 0
	for _, manifest := range manifests {
		valid, invalid := conform(ctx, validate, manifest)
		objects += valid
		problems = append(problems, invalid...)
		if !manifest.complete {
			continue
		}
		findings, err := judge(manifest)
		if err != nil {
			return fmt.Errorf("%s: kube-score: %w", manifest.name, err)
		}
		for _, found := range findings {
			if e, ok := found.exempted(exemptions); ok {
				used[e] = true
			} else {
				problems = append(problems, fmt.Sprintf("%s: %s", manifest.name, found))
			}
		}
	}
	problems = append(problems, unused(exemptions, used)...)
	for _, problem := range problems {
		fmt.Fprintln(stdout, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems in the manifests. Correct the manifests, or give a reason in hack/manifests/exemptions.go", len(problems))
	}
	fmt.Fprintf(stdout, "%d objects in %d renderings have no problems\n", objects, len(manifests))
	return nil
}

// conform returns how many objects conform to their schemas, and the problems of the others.
func conform(ctx context.Context, validate validator.Validator, manifest rendered) (valid int, invalid []string) {
	for _, result := range validate.ValidateWithContext(ctx, manifest.name, io.NopCloser(bytes.NewReader(manifest.stream))) {
		switch result.Status {
		case validator.Empty:
		case validator.Valid:
			valid++
		default:
			object := "an object"
			if signature, err := result.Resource.Signature(); err == nil {
				object = signature.Kind + " " + signature.Name
			}
			invalid = append(invalid, fmt.Sprintf("%s: %s: kubeconform: %v", manifest.name, object, result.Err))
		}
	}
	if valid == 0 && len(invalid) == 0 {
		invalid = append(invalid, manifest.name+": has no object")
	}
	return valid, invalid
}

// finding is a problem that kube-score found in an object.
type finding struct {
	check, object, comment string
}

func (f finding) String() string {
	return fmt.Sprintf("%s: kube-score: %s: %s", f.object, f.check, f.comment)
}

// named is a stream with a name, as kube-score requires it.
type named struct {
	io.Reader
	name string
}

// Name implements domain.NamedReader.
func (n named) Name() string { return n.name }

// judge returns the findings of kube-score, in a stable order.
func judge(manifest rendered) ([]finding, error) {
	read, err := parser.New(nil)
	if err != nil {
		return nil, err
	}
	objects, err := read.ParseFiles([]domain.NamedReader{named{bytes.NewReader(manifest.stream), manifest.name}})
	if err != nil {
		return nil, err
	}
	settings := &config.RunConfiguration{KubernetesVersion: config.Semver{Major: 1, Minor: 37}, MinReplicasDeployment: 2, MinReplicasHPA: 2}
	card, err := score.Score(objects, score.RegisterAllChecks(objects, nil, settings), settings)
	if err != nil {
		return nil, err
	}
	var findings []finding
	for _, object := range *card {
		for _, result := range object.Checks {
			if result.Skipped || result.Grade > scorecard.GradeWarning {
				continue
			}
			for _, comment := range result.Comments {
				findings = append(findings, finding{result.Check.ID, object.TypeMeta.Kind + " " + object.ObjectMeta.Name, comment.Summary})
			}
		}
	}
	slices.SortFunc(findings, func(a, b finding) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(findings), nil
}
