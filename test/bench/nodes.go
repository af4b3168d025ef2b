package main

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

const (
	// nodeCount is how many simulated nodes there are.
	nodeCount = 10
	// heartbeat is how often a kubelet renews the lease of its node, by default.
	heartbeat = 10 * time.Second
)

// nodeIsReady is what a kubelet says of its node.
const nodeIsReady = `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`

// startNodes makes nodes that nothing runs on, and keeps them alive until the context ends: pods on a node that is lost are evicted, and
// those on one that does not exist are collected.
func startNodes(ctx context.Context, s *stage.Stage) ([]string, error) {
	names := named("node", nodeCount)
	for _, name := range names {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := s.Kube.Create(ctx, node); err != nil {
			return nil, err
		}
		// A patch, since the node's controller taints it at the same time.
		if err := s.Kube.Status().Patch(ctx, node, client.RawPatch(types.MergePatchType, []byte(nodeIsReady))); err != nil {
			return nil, err
		}
		lease := &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: new(int32(40)), RenewTime: &metav1.MicroTime{Time: time.Now()}},
		}
		if err := s.Kube.Create(ctx, lease); err != nil {
			return nil, err
		}
		go wait.UntilWithContext(ctx, func(ctx context.Context) {
			lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
			_ = s.Kube.Update(ctx, lease) // the next beat comes soon, and four may be missed
		}, heartbeat)
	}
	return names, nil
}

// nodeOf spreads pods over the nodes.
func nodeOf(nodes []string, i int) string { return nodes[i%len(nodes)] }

// mountingPod is a pod on a node that mounts the Secret of a ReactorToken. That it runs is said by runPod.
func mountingPod(name, token, node string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "web", Image: "example.com/web", VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/token"}}}},
			Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: token}}}},
		},
	}
}

// startPods makes pods that run, so many to each of these ReactorTokens.
func startPods(ctx context.Context, s *stage.Stage, nodes, tokens []string, each int) error {
	return forEach(ctx, creators, named("pod", len(tokens)*each), func(ctx context.Context, name string) error {
		var number int
		if _, err := fmt.Sscanf(name, "pod-%d", &number); err != nil {
			return err
		}
		token := tokens[number/each]
		pod := mountingPod(name, token, nodeOf(nodes, number), map[string]string{promptLabel: token})
		if err := s.Kube.Create(ctx, pod); err != nil {
			return err
		}
		return setPodStatus(ctx, s, pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	})
}
