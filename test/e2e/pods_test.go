package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenFile is where pods mount the token.
const tokenFile = "/var/run/reactor/jwt"

// mounting is a pod spec whose probe reads the token of a Secret from a mounted file.
func mounting(secret string) corev1.PodSpec {
	return corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "main", Image: probeImage, Args: []string{"file", tokenFile},
			VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/var/run/reactor", ReadOnly: true}},
		}},
		Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret},
		}}},
	}
}

// inEnvironment is a pod spec whose probe reads the token of a Secret once, from the environment.
func inEnvironment(secret string) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: "main", Image: probeImage, Args: []string{"env", "REACTOR_TOKEN"},
		Env: []corev1.EnvVar{{Name: "REACTOR_TOKEN", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "jwt"},
		}}},
	}}}
}

// runPod creates a pod, and does not wait for anything.
func (w *world) runPod(name string, labels map[string]string, spec corev1.PodSpec) {
	w.t.Helper()
	w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: labels}, Spec: spec})
}

// runningPod waits until a pod runs, and returns it.
func (w *world) runningPod(name string) *corev1.Pod {
	w.t.Helper()
	pod := &corev1.Pod{}
	w.eventually("pod "+name+" to run", func() error {
		if err := w.get(name, pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
	return pod
}

// restarts is how often the containers of a pod were started again.
func restarts(pod *corev1.Pod) int32 {
	var all int32
	for i := range pod.Status.ContainerStatuses {
		all += pod.Status.ContainerStatuses[i].RestartCount
	}
	return all
}

// sightings are the ids of the tokens that a probe has printed.
type sightings struct {
	mu   sync.Mutex
	seen []string
	err  error
}

// follow reads what the probe in a running pod prints, from its start to its end.
func (w *world) follow(pod string) *sightings {
	w.t.Helper()
	stream, err := cluster.clientset.CoreV1().Pods(w.namespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(w.t.Context())
	if err != nil {
		w.t.Fatalf("logs of pod %s: %v", pod, err)
	}
	s := &sightings{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read(bufio.NewScanner(stream))
	}()
	w.t.Cleanup(func() {
		_ = stream.Close()
		<-done
	})
	return s
}

func (s *sightings) read(lines *bufio.Scanner) {
	for lines.Scan() {
		var line struct{ JTI, Error string }
		err := json.Unmarshal(lines.Bytes(), &line)
		if err == nil && line.Error != "" {
			err = errors.New(line.Error)
		}
		s.mu.Lock()
		s.seen, s.err = append(s.seen, line.JTI), errors.Join(s.err, err)
		s.mu.Unlock()
	}
	if err := lines.Err(); err != nil && !errors.Is(err, context.Canceled) {
		s.mu.Lock()
		s.err = errors.Join(s.err, err)
		s.mu.Unlock()
	}
}

// latest objects unless the probe sees the token with this id.
func (s *sightings) latest(want string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if len(s.seen) == 0 || s.seen[len(s.seen)-1] != want {
		return fmt.Errorf("the pod has seen the tokens %q, and not yet %q", s.seen, want)
	}
	return nil
}
