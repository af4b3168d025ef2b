package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// cluster reads and changes the objects of the target.
type cluster struct {
	client.Client

	clientset kubernetes.Interface
}

var (
	crdKind    = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	secretKind = corev1.SchemeGroupVersion.WithKind("Secret")
)

func connect(config *rest.Config) (*cluster, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	objects, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{Client: objects, clientset: clientset}, nil
}

// architectures are those of the Linux nodes, one for each node.
func (c *cluster) architectures(ctx context.Context) ([]string, error) {
	nodes := &corev1.NodeList{}
	if err := c.List(ctx, nodes); err != nil {
		return nil, fmt.Errorf("list the nodes, to find the architectures for the images: %w", err)
	}
	var all []string
	for i := range nodes.Items {
		if info := nodes.Items[i].Status.NodeInfo; info.OperatingSystem == "linux" {
			all = append(all, info.Architecture)
		}
	}
	return all, nil
}

// owners are the operator's CRDs with their Helm releases.
func (c *cluster) owners(ctx context.Context) ([]owner, error) {
	crds := &metav1.PartialObjectMetadataList{}
	crds.SetGroupVersionKind(crdKind)
	if err := c.List(ctx, crds); err != nil {
		return nil, fmt.Errorf("list the CustomResourceDefinitions, to find another installation of the operator: %w", err)
	}
	var all []owner
	for i := range crds.Items {
		crd := &crds.Items[i]
		if strings.HasSuffix(crd.Name, "."+v1alpha1.SchemeGroupVersion.Group) {
			all = append(all, owner{
				crd: crd.Name, release: crd.Annotations["meta.helm.sh/release-name"], namespace: crd.Annotations["meta.helm.sh/release-namespace"],
				mark: crd.Labels[installedByLabel],
			})
		}
	}
	return all, nil
}

// hasRelease reports whether the Helm release of an installation exists.
func (c *cluster) hasRelease(ctx context.Context, i installation) (bool, error) {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(secretKind)
	ofRelease := client.MatchingLabels{"owner": "helm", "name": i.release, installedByLabel: i.installedBy()}
	if err := c.List(ctx, secrets, client.InNamespace(i.namespace), ofRelease); err != nil {
		return false, fmt.Errorf("list the Secrets of Helm in namespace %q: %w", i.namespace, err)
	}
	return len(secrets.Items) > 0, nil
}

// installedBy is the mark of a namespace, and whether the namespace exists.
func (c *cluster) installedBy(ctx context.Context, name string) (mark string, exists bool, err error) {
	namespace := &corev1.Namespace{}
	err = c.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read namespace %q: %w", name, err)
	}
	return namespace.Labels[installedByLabel], true, nil
}

// ensureNamespace creates the namespace, with a mark by which a removal finds it. One that exists stays as it is.
func (c *cluster) ensureNamespace(ctx context.Context, name, mark string) error {
	_, exists, err := c.installedBy(ctx, name)
	if err != nil || exists {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		installedByLabel: mark, "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}
	if err := c.Create(ctx, namespace); err != nil {
		return fmt.Errorf("create namespace %q: %w", name, err)
	}
	return nil
}

// find looks up what an installation has in the cluster.
func (c *cluster) find(ctx context.Context, i installation) (found, error) {
	var f found
	var err error
	if f.release, err = c.hasRelease(ctx, i); err != nil {
		return f, err
	}
	owners, err := c.owners(ctx)
	if err != nil {
		return f, err
	}
	for _, o := range owners {
		if o.is(i) {
			f.owned = append(f.owned, o)
		} else {
			f.foreign = append(f.foreign, o)
		}
	}
	for _, name := range i.namespaces() {
		mark, exists, err := c.installedBy(ctx, name)
		switch {
		case err != nil:
			return f, err
		case exists && mark == i.installedBy():
			f.namespaces = append(f.namespaces, name)
		case exists:
			f.kept = append(f.kept, name)
		}
	}
	if f.tokens, err = c.names(ctx, "ReactorTokenList"); err != nil {
		return f, err
	}
	f.sessions, err = c.names(ctx, "ReactorSessionList")
	return f, err
}

// names are the objects of a kind in all namespaces. It is empty if the kind does not exist in the cluster.
func (c *cluster) names(ctx context.Context, listKind string) ([]string, error) {
	objects := &metav1.PartialObjectMetadataList{}
	objects.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(listKind))
	err := c.List(ctx, objects)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s of all namespaces: %w", listKind, err)
	}
	var all []string
	for i := range objects.Items {
		all = append(all, objects.Items[i].Namespace+"/"+objects.Items[i].Name)
	}
	return all, nil
}

// tokenSecrets are the Secrets that the garbage collector deletes after their ReactorTokens.
func (c *cluster) tokenSecrets(ctx context.Context) ([]client.ObjectKey, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	err := c.List(ctx, tokens)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the ReactorTokens, to find the Secrets that are deleted with them: %w", err)
	}
	var all []client.ObjectKey
	for i := range tokens.Items {
		token := &tokens.Items[i]
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(secretKind)
		key := client.ObjectKey{Namespace: token.Namespace, Name: token.TargetSecretName()}
		if err := c.Get(ctx, key, secret); err == nil && metav1.IsControlledBy(secret, token) {
			all = append(all, key)
		}
	}
	return all, nil
}
