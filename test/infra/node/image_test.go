package node

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// packForSeveralPlatforms writes the archive of an image as make image does, for amd64 and arm64.
func packForSeveralPlatforms(t *testing.T, tag, mainPackage string) string {
	t.Helper()
	folder := t.TempDir()
	archive := filepath.Join(folder, "image.tar")
	pack := []string{"run", "-C", filepath.Join("..", "..", "..", "hack", "image"), ".", "--name", tag, "--output", archive}
	for _, architecture := range []string{"amd64", "arm64"} {
		program := filepath.Join(folder, architecture, filepath.Base(mainPackage))
		build := goCommand(t.Context(), "build", "-o", program, mainPackage)
		build.cmd.Env = append(build.cmd.Env, "GOARCH="+architecture)
		if err := build.run(); err != nil {
			t.Fatal(err)
		}
		pack = append(pack, program)
	}
	if err := goCommand(t.Context(), pack...).run(); err != nil {
		t.Fatal(err)
	}
	return archive
}

func TestContainerdTakesAnArchiveOfSeveralPlatformsAsLocalClustersImportIt(t *testing.T) {
	needNode(t)
	n, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	client, err := kubernetes.NewForConfig(n.ControlPlane.Config)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{
		// kind load image-archive.
		"kind": {"--namespace=k8s.io", "images", "import", "--all-platforms", "--digests", "--snapshotter=overlayfs"},
		// k3d image import, and minikube image load with containerd.
		"k3d": {"--namespace=k8s.io", "images", "import"},
	}
	for name, command := range tests {
		t.Run(name, func(t *testing.T) {
			tag := "localhost/pause:" + name
			archive := packForSeveralPlatforms(t, tag, pausePackage)
			if err := n.ctr(t.Context(), append(command, archive)...); err != nil {
				t.Fatal(err)
			}
			runPod(t, client, name, tag)
		})
	}
}

// runPod waits until a pod runs an image that the node has.
func runPod(t *testing.T, client kubernetes.Interface, name, image string) {
	t.Helper()
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(bool),
			Containers:                   []corev1.Container{{Name: "pause", Image: image, ImagePullPolicy: corev1.PullNever}},
		},
	}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = pods.Get(ctx, name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	})
	if err != nil {
		t.Errorf("the pod does not run %s: %v; its containers: %+v", image, err, pod.Status.ContainerStatuses)
	}
}
