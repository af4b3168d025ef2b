package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// drainTimeout is more than the drain of the chart takes by default: 210 seconds, and a minute for its pod.
const drainTimeout = 6 * time.Minute

// removalTimeout is how long a removal waits until an object is deleted.
const removalTimeout = 2 * time.Minute

// down removes what up installed. It first lists what it deletes.
func (s *session) down(ctx context.Context) error {
	s.printf("%s: %s\n", s.what.down, s.target)
	f, err := s.cluster.find(ctx, s.what)
	if err != nil {
		return fmt.Errorf("%s: %w. Check that the cluster runs and that you have cluster-admin permissions", s.target, err)
	}
	for _, line := range f.remaining() {
		s.printf("%s\n", line)
	}
	if f.nothing() {
		s.printf("The cluster has no installation of `%s`.\n", s.what.up)
		return nil
	}
	s.printf("This deletes:\n")
	for _, line := range f.describe(s.what) {
		s.printf("  %s\n", line)
	}
	if err := needCommands("bash"); err != nil {
		return err
	}
	if err := s.askFor("Delete all of this"); err != nil {
		return err
	}
	if err := s.remove(ctx, f); err != nil {
		return err
	}
	s.printf("\n%s took %s. The installation of `%s` is removed from the cluster.\n", s.what.down, s.elapsed(), s.what.up)
	return nil
}

// remove deletes in this order: the release, whose drain needs the CRDs; the CRDs with their objects; the namespaces.
func (s *session) remove(ctx context.Context, f found) error {
	if f.release {
		if err := s.step("end the sessions and uninstall the chart", func() error { return s.uninstall(ctx) }); err != nil {
			return err
		}
	}
	if f.ownsObjects() {
		if err := s.step("delete the CRDs and their objects", func() error { return s.cluster.deleteCRDs(ctx, f.owned) }); err != nil {
			return err
		}
	}
	for _, name := range f.namespaces {
		if err := s.step("delete the namespace "+name, func() error {
			namespace := client.ObjectKey{Name: name}
			return s.cluster.deleteAndWait(ctx, corev1.SchemeGroupVersion.WithKind("Namespace"), namespace)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) uninstall(ctx context.Context) error {
	err := s.runHelm(ctx, "uninstall", s.what.release, "--wait", "--timeout", drainTimeout.String())
	if err != nil {
		return fmt.Errorf("uninstall the chart: %w\nIf the drain could not run, see charts/reactor-operator/README.md#uninstall. Then run `%s` again", err, s.what.down)
	}
	return nil
}

// deleteCRDs deletes the CRDs, and waits until they, their objects and the Secrets of the tokens are deleted.
func (c *cluster) deleteCRDs(ctx context.Context, owned []owner) error {
	secrets, err := c.tokenSecrets(ctx)
	if err != nil {
		return err
	}
	for _, o := range owned {
		if err := c.deleteAndWait(ctx, crdKind, client.ObjectKey{Name: o.crd}); err != nil {
			return err
		}
	}
	for _, key := range secrets {
		if err := c.waitUntilGone(ctx, secretKind, key); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) deleteAndWait(ctx context.Context, kind schema.GroupVersionKind, key client.ObjectKey) error {
	// Not as PartialObjectMetadata: an object with finalizers is the response, and that client cannot decode it.
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	object.SetNamespace(key.Namespace)
	object.SetName(key.Name)
	if err := client.IgnoreNotFound(c.Delete(ctx, object)); err != nil {
		return fmt.Errorf("delete %s %s: %w", kind.Kind, key.Name, err)
	}
	return c.waitUntilGone(ctx, kind, key)
}

func (c *cluster) waitUntilGone(ctx context.Context, kind schema.GroupVersionKind, key client.ObjectKey) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, removalTimeout, true, func(ctx context.Context) (bool, error) {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(kind)
		last = c.Get(ctx, key, object)
		return apierrors.IsNotFound(last), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s %s is deleted: %w. A finalizer of it or of an object in it may prevent this. "+
			"Read its conditions with `kubectl get %s %s --output=yaml`", kind.Kind, key, errors.Join(err, last), kind.Kind, key.Name)
	}
	return nil
}
