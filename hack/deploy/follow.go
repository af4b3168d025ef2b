package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// wantTokens is how many tokens a pod must show before the trial is complete: the first one, and a renewed one.
const wantTokens = 2

// follow prints the log of the pod that mounts the token until it has shown a renewed token.
func (s *session) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("the pod showed fewer than %d tokens within %s", wantTokens, s.timeout))
	defer cancel()
	lines := &tokenLines{}
	for lines.count < wantTokens {
		err := s.followPod(ctx, lines)
		if cause := context.Cause(ctx); lines.count < wantTokens && cause != nil {
			return fmt.Errorf("follow the log of Deployment %q in namespace %q: %w (last error: %v). "+
				"Run `kubectl --namespace %s describe reactortoken,pods` to see why", trialPod, trialNamespace, cause, err, trialNamespace)
		}
	}
	return nil
}

// followPod prints the log of one pod, until it has shown enough tokens or the pod ends.
func (s *session) followPod(ctx context.Context, lines *tokenLines) error {
	pod, err := s.cluster.runningPod(ctx)
	if err != nil {
		return err
	}
	stream, err := s.cluster.clientset.CoreV1().Pods(trialNamespace).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // nothing was written to it
	return lines.read(stream, func(line string) { s.printf("  %8s  %s\n", s.elapsed(), line) })
}

// tokenLine matches a line of `reactor-emulator watch-token` that reports a token. The group is the token's id.
var tokenLine = regexp.MustCompile(`^\S+ token ("[^"]+") expires `)

// tokenLines counts the tokens that a pod showed. A pod that is started again shows its token again.
type tokenLines struct {
	observed map[string]bool
	count    int
}

// read passes each line to show, until there were enough tokens.
func (t *tokenLines) read(log io.Reader, show func(line string)) error {
	if t.observed == nil {
		t.observed = map[string]bool{}
	}
	scanner := bufio.NewScanner(log)
	for t.count < wantTokens && scanner.Scan() {
		line := scanner.Text()
		show(line)
		if match := tokenLine.FindStringSubmatch(line); match != nil && !t.observed[match[1]] {
			t.observed[match[1]] = true
			t.count++
		}
	}
	return scanner.Err()
}

// runningPod waits until the pod that mounts the token runs.
func (c *cluster) runningPod(ctx context.Context) (name string, err error) {
	err = wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		deployment, pods := &appsv1.Deployment{}, &corev1.PodList{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: trialNamespace, Name: trialPod}, deployment); err != nil {
			return false, err
		}
		selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
		if err != nil {
			return false, err
		}
		if err := c.List(ctx, pods, client.InNamespace(trialNamespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return false, err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if problem := podProblem(pod); problem != "" {
				return false, errors.New(problem)
			}
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
				name = pod.Name
			}
		}
		return name != "", nil
	})
	return name, err
}
