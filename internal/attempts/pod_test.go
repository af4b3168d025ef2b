package attempts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

func TestThePodOfAnAttempt(t *testing.T) {
	session := aSession(func(s *v1alpha1.ReactorSession) {
		s.Spec.MaxDuration = "1h"
		s.Spec.Template.Labels = map[string]string{"app": "night"}
		s.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "i"}}
		s.Spec.Template.Spec.Containers = append(s.Spec.Template.Spec.Containers, corev1.Container{Name: "sidecar", Image: "s"})
	})
	pod := built(session)
	if pod.Name != "night-"+strings.Split(pod.Name, "-")[1]+"-1" || !HasFinalizer(pod, TrackingFinalizer) || pod.Labels["app"] != "night" ||
		pod.Labels[AttemptLabel] != "1" || pod.Labels[SessionUIDLabel] != string(session.UID) || pod.Annotations[outcome.ContainerAnnotation] != "stream" {
		t.Errorf("metadata %+v", pod.ObjectMeta)
	}
	if owner := metav1.GetControllerOf(pod); owner == nil || owner.UID != session.UID {
		t.Errorf("owner %+v", owner)
	}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyNever || *pod.Spec.AutomountServiceAccountToken || *pod.Spec.ActiveDeadlineSeconds != 70*60 ||
		pod.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || pod.Spec.SecurityContext.RunAsNonRoot != nil {
		t.Errorf("spec %+v", pod.Spec)
	}
	for _, container := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
		if *container.SecurityContext.AllowPrivilegeEscalation || container.SecurityContext.Capabilities != nil {
			t.Errorf("container %s: %+v", container.Name, container.SecurityContext)
		}
	}
	var env []string
	for _, variable := range pod.Spec.Containers[0].Env {
		env = append(env, variable.Name+"="+variable.Value)
	}
	want := []string{"REACTOR_MODEL=reactor/helios", "REACTOR_API_URL=https://api.reactor.inc", "REACTOR_SESSION_NAME=night", "REACTOR_ATTEMPT=1", "REACTOR_JWT_FILE=/var/run/secrets/reactor/jwt"}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	mounts := pod.Spec.Containers[0].VolumeMounts
	if len(mounts) != 1 || mounts[0].SubPath != "" || !mounts[0].ReadOnly || pod.Spec.Volumes[0].Secret.SecretName != pod.Name {
		t.Errorf("mounts %+v, volumes %+v", mounts, pod.Spec.Volumes)
	}
	if len(pod.Spec.Containers[1].Env) != 0 || len(pod.Spec.Containers[1].VolumeMounts) != 0 {
		t.Error("the sidecar got the credential too")
	}
	if len(session.Spec.Template.Spec.Containers[0].Env) != 0 || session.Spec.Template.Spec.RestartPolicy != "" {
		t.Error("the template was changed")
	}
}

func TestWhatTheUserSetIsLeftAlone(t *testing.T) {
	pod := built(aSession(apiKeyEnv, func(s *v1alpha1.ReactorSession) {
		s.Spec.MaxDuration = "1h"
		spec := &s.Spec.Template.Spec
		spec.AutomountServiceAccountToken, spec.ActiveDeadlineSeconds = new(true), new(int64(60))
		spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}
		spec.Containers = []corev1.Container{
			{Name: "stream", SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(true)}},
			{Name: "privileged", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}},
			{Name: "admin", SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}},
		}
	}))
	if !*pod.Spec.AutomountServiceAccountToken || *pod.Spec.ActiveDeadlineSeconds != 60 || pod.Annotations[outcome.BackstopAnnotation] != "" ||
		pod.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeUnconfined || !*pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation {
		t.Errorf("spec %+v", pod.Spec)
	}
	for _, container := range pod.Spec.Containers[1:] {
		if container.SecurityContext.AllowPrivilegeEscalation != nil {
			t.Errorf("the API server refuses container %q", container.Name)
		}
	}
	env := pod.Spec.Containers[0].Env
	if last := env[len(env)-1]; last.Name != "REACTOR_API_KEY" || last.Value != "" || last.ValueFrom.SecretKeyRef.Name != keySecret || len(pod.Spec.Volumes) != 0 {
		t.Errorf("the key is given as %+v", last)
	}
}

func TestTemplatesThatCannotBeRun(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.ReactorSession)
		says   string
	}{
		"one that can":      {func(*v1alpha1.ReactorSession) {}, ""},
		"no containers":     {func(s *v1alpha1.ReactorSession) { s.Spec.Template.Spec.Containers = nil }, "has no containers"},
		"another container": {func(s *v1alpha1.ReactorSession) { s.Spec.Container = "other" }, `spec.container is "other"`},
		"a restart policy":  {func(s *v1alpha1.ReactorSession) { s.Spec.Template.Spec.RestartPolicy = "Always" }, "restartPolicy must be empty"},
		"a container that restarts in place": {func(s *v1alpha1.ReactorSession) {
			container(s).RestartPolicy = new(corev1.ContainerRestartPolicyOnFailure)
		}, "must be empty"},
		"a container with restart rules": {func(s *v1alpha1.ReactorSession) {
			container(s).RestartPolicyRules = []corev1.ContainerRestartRule{{}}
		}, "must be empty"},
		"a sidecar that restarts all": {func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "sidecar", RestartPolicyRules: []corev1.ContainerRestartRule{{}}}}
		}, "must be empty"},
		"a sidecar": {func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "sidecar", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
		}, ""},
		"our volume":             {func(s *v1alpha1.ReactorSession) { s.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: TokenVolume}} }, "Choose another"},
		"our variable":           {func(s *v1alpha1.ReactorSession) { container(s).Env = []corev1.EnvVar{{Name: "REACTOR_MODEL"}} }, "REACTOR_MODEL is set by the operator"},
		"a variable beside ours": {func(s *v1alpha1.ReactorSession) { container(s).Env = []corev1.EnvVar{{Name: "REACTOR_MODE"}} }, ""},
		"our folder":             {mountAt("/var/run/secrets/reactor"), "Choose another mountPath"},
		"our folder, written so": {mountAt("/var/run/secrets/reactor/"), "Choose another mountPath"},
		"inside our folder":      {mountAt("/var/run/secrets/reactor/x"), "Choose another mountPath"},
		"beside our folder":      {mountAt("/var/run/secrets/reactors"), ""},
		"a label of ours": {func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Labels = map[string]string{"reactor.inc/attempt": "1"}
		}, "reserved for the operator"},
		"an annotation of ours": {func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Annotations = map[string]string{"x.reactor.inc/a": "1"}
		}, "reserved for the operator"},
		"a finalizer of ours": {func(s *v1alpha1.ReactorSession) { s.Spec.Template.Finalizers = []string{TrackingFinalizer} }, "reserved for the operator"},
		"a label of others": {func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Labels = map[string]string{"app": "1", "notreactor.inc/a": "1"}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := CheckTemplate(&aSession(test.change).Spec)
			if (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("%q, want %q", got, test.says)
			}
		})
	}
}

func container(session *v1alpha1.ReactorSession) *corev1.Container {
	return &session.Spec.Template.Spec.Containers[0]
}

func mountAt(path string) func(*v1alpha1.ReactorSession) {
	return func(s *v1alpha1.ReactorSession) {
		container(s).VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: path}}
	}
}

func TestNamesOfAttemptsAreStableAndFit(t *testing.T) {
	session := aSession()
	if first := Name(session, 1); first != Name(aSession(), 1) || first == Name(session, 2) {
		t.Error("a name is not that of one attempt")
	}
	again := aSession()
	again.UID = "another"
	if Name(session, 1) == Name(again, 1) {
		t.Error("a session that was created anew has the names of the old one")
	}
	session.Name = strings.Repeat("a", 39) + "." + strings.Repeat("b", 200)
	if name := Name(session, 1<<30); len(name) > 63 || strings.Contains(name, ".-") {
		t.Errorf("%s has %d characters", name, len(name))
	}
}

func TestTokensOfAttempts(t *testing.T) {
	lifetime := func(longest v1alpha1.Duration) *v1alpha1.ReactorToken {
		session := aSession(func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration, s.Spec.Credentials.MaxSessions = longest, 3 })
		return BuildToken(session, &session.Status, session.Status.CurrentAttempt, Settings{PromptDelivery: true})
	}
	for longest, want := range map[v1alpha1.Duration][3]string{ // lifetime, longest session, delivered promptly
		"1m": {"26m30s", "6m", "no"}, "5h": {"5h25m30s", "5h5m", "no"}, "5h44m": {"6h", "5h49m", "no"}, "10h": {"", "10h5m", "yes"}, "": {"", "24h", "yes"}, "48h": {"", "24h", "yes"},
	} {
		token := lifetime(longest)
		prompt := "no"
		if token.Spec.PromptDelivery != nil {
			prompt = "yes"
		}
		got := [3]string{string(token.Spec.Lifetime), string(token.Spec.Scope.MaxSessionDuration), prompt}
		if diff := cmp.Diff(want, got); diff != "" || token.Spec.Scope.MaxSessions != 3 || !slices.Equal(token.Spec.Scope.Models, []v1alpha1.ModelName{model}) {
			t.Errorf("of a session of %q (-want +got):\n%s", longest, diff)
		}
	}
}

func TestHowOldATokenMayBeWhenThePodIsCreated(t *testing.T) {
	for name, test := range map[string]struct {
		left, granted, needs time.Duration
		want                 bool
	}{
		"just enough":                           {time.Hour, 2 * time.Hour, time.Hour, true},
		"a second too little":                   {time.Hour - time.Second, 2 * time.Hour, time.Hour, false},
		"as much as there can be":               {6 * time.Hour, 6 * time.Hour, 6 * time.Hour, true},
		"nearly, after a wait in a long line":   {6*time.Hour - 10*time.Minute, 6 * time.Hour, 6 * time.Hour, true},
		"after a longer one":                    {6*time.Hour - 10*time.Minute - time.Second, 6 * time.Hour, 6 * time.Hour, false},
		"half of a short grant":                 {4 * time.Minute, 8 * time.Minute, 7 * time.Minute, true},
		"less than half of a short grant":       {4*time.Minute - time.Second, 8 * time.Minute, 7 * time.Minute, false},
		"renewed while it runs, half":           {3 * time.Hour, 6 * time.Hour, 10 * time.Hour, true},
		"renewed while it runs, less than half": {3*time.Hour - time.Second, 6 * time.Hour, 10 * time.Hour, false},
		"without a limit, half of its life":     {3 * time.Hour, 6 * time.Hour, 0, true},
		"without a limit, less than half":       {3*time.Hour - time.Second, 6 * time.Hour, 0, false},
		"expired, of a grant of a minute":       {-time.Second, time.Minute, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.left >= MinLeft(test.granted, test.needs); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}

func TestBackoffsHaveAFloorWhenASessionMayBeOpen(t *testing.T) {
	for failures, want := range map[int32][2]time.Duration{
		1: {10 * time.Second, 30 * time.Second}, 2: {20 * time.Second, 30 * time.Second}, 3: {40 * time.Second, 40 * time.Second},
		6: {5 * time.Minute, 5 * time.Minute}, 1000: {5 * time.Minute, 5 * time.Minute}, 0: {10 * time.Second, 30 * time.Second},
	} {
		if got := [2]time.Duration{Backoff(failures, true), Backoff(failures, false)}; got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
}
