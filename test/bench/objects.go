package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// creators is how many requests the benchmark itself has under way.
const creators = 16

// model is the scope of all tokens that are not told apart.
const model = "reactor/helios"

// named are the names of so many objects.
func named(prefix string, count int) []string {
	names := make([]string, 0, count)
	for i := range count {
		names = append(names, fmt.Sprintf("%s-%d", prefix, i))
	}
	return names
}

func newToken(name string, change ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name},
		Spec: v1alpha1.ReactorTokenSpec{
			APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: stage.KeySecret},
			Scope:           &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{model}, MaxSessions: 1},
		},
	}
	for _, with := range change {
		with(token)
	}
	return token
}

func newSession(name string) *v1alpha1.ReactorSession {
	return &v1alpha1.ReactorSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name},
		Spec: v1alpha1.ReactorSessionSpec{
			Model: model, APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: stage.KeySecret}, StartDeadline: "6h", MaxDuration: "5h",
			RestartPolicy: v1alpha1.RestartNever,
			Template:      corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "stream", Image: "example.com/stream"}}}},
		},
	}
}

// forEach does something for each name, several at once.
func forEach(ctx context.Context, atOnce int, names []string, do func(ctx context.Context, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, name := range names {
		group.Go(func() error { return do(ctx, name) })
	}
	return group.Wait()
}

func createTokens(ctx context.Context, s *stage.Stage, names []string, change ...func(*v1alpha1.ReactorToken)) error {
	return forEach(ctx, creators, names, func(ctx context.Context, name string) error { return s.Kube.Create(ctx, newToken(name, change...)) })
}

// removeTokens deletes ReactorTokens and their Secrets.
func removeTokens(ctx context.Context, s *stage.Stage, names []string) error {
	return forEach(ctx, creators, names, func(ctx context.Context, name string) error {
		at := metav1.ObjectMeta{Namespace: stage.Namespace, Name: name}
		if err := client.IgnoreNotFound(s.Kube.Delete(ctx, &v1alpha1.ReactorToken{ObjectMeta: at})); err != nil {
			return err
		}
		return client.IgnoreNotFound(s.Kube.Delete(ctx, &corev1.Secret{ObjectMeta: at}))
	})
}

// versions are the resourceVersions of all ReactorTokens and Secrets, by kind and name: who has written something shows in them.
func versions(ctx context.Context, s *stage.Stage) (map[string]string, error) {
	seen := map[string]string{}
	for kind, gv := range map[string]metav1.TypeMeta{
		"Secret":       {APIVersion: "v1", Kind: "SecretList"},
		"ReactorToken": {APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "ReactorTokenList"},
	} {
		list := &metav1.PartialObjectMetadataList{TypeMeta: gv}
		if err := s.Kube.List(ctx, list, client.InNamespace(stage.Namespace)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			seen[kind+" "+list.Items[i].Name] = list.Items[i].ResourceVersion
		}
	}
	return seen, nil
}

// changedVersions counts the objects that were there before and are not now as they were.
func changedVersions(before, after map[string]string) int {
	changed := 0
	for name, version := range before {
		if after[name] != version {
			changed++
		}
	}
	return changed
}
