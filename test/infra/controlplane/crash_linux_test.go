package controlplane

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhatIsKilledComesBackWithItsData(t *testing.T) {
	cp, err := Start(t.Context(), Options{Scheduler: true})
	if err != nil {
		t.Fatal(err)
	}
	dir := cp.Dir
	secrets := cp.client.CoreV1().Secrets(metav1.NamespaceDefault)
	if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{etcdName, apiServerName, etcdName, apiServerName, "kube-controller-manager", "kube-scheduler"} {
		before := programsOf(t, dir)
		if err := cp.Kill(name); err != nil {
			t.Fatal(err)
		}
		if _, runs := programsOf(t, dir)[name]; runs {
			t.Errorf("%s runs after it was killed", name)
		}
		if err := cp.Restart(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if after := programsOf(t, dir); len(after) != len(before) || after[name] == before[name] {
			t.Errorf("before %v, after %v", before, after)
		}
		// etcd runs before kube-apiserver has noticed that.
		eventually(t, "the control plane to be healthy after "+name, func(ctx context.Context) (bool, error) { return cp.Healthy(ctx) == nil, nil })
		if _, err := secrets.Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if err := cp.Stop(); err != nil {
		t.Error(err)
	}
	if left := programsOf(t, dir); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

func TestARestartTakesMoreFlagsOnce(t *testing.T) {
	cp, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := cp.Dir
	const flag = "--quota-backend-bytes=67108864"
	for _, flags := range [][]string{{flag}, nil} {
		if err := cp.Kill(etcdName); err != nil {
			t.Fatal(err)
		}
		if err := cp.Restart(t.Context(), etcdName, flags...); err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(commandLine(t, programsOf(t, dir)[etcdName]), flag); has != (flags != nil) {
			t.Errorf("restarted with %q, and the flag is there: %v", flags, has)
		}
	}
	if err := cp.Kill(etcdName); err != nil {
		t.Fatal(err)
	}
	if err := cp.Kill(etcdName); err == nil {
		t.Error("it was killed twice")
	}
	if err := cp.Restart(t.Context(), apiServerName); err == nil {
		t.Error("what runs was started again")
	}
	if err := cp.Stop(); err != nil {
		t.Error(err)
	}
	if left := programsOf(t, dir); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}
