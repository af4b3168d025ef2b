package attempts

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	keySecret = "reactor-api-key"
	model     = "reactor/helios"
)

// newSession returns a ReactorSession.
func newSession(name string, changes ...func(*v1alpha1.ReactorSession)) *v1alpha1.ReactorSession {
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: "media", Name: name}}
	session.Spec.Model = model
	session.Spec.APIKeySecretRef.Name = keySecret
	session.Spec.Template.Spec.Containers = []corev1.Container{{Name: "stream", Image: "example.com/stream:1"}}
	for _, change := range changes {
		change(session)
	}
	return session
}

// aSession is a ReactorSession as the API server has it, at its first attempt.
func aSession(changes ...func(*v1alpha1.ReactorSession)) *v1alpha1.ReactorSession {
	session := newSession("night", changes...)
	session.UID, session.Generation = "5b6a4f6e-0000-4000-8000-000000000001", 1
	session.Status.Attempts = 1
	name := Name(session, 1)
	session.Status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: name}
	if session.Spec.UsesTokenFile() {
		session.Status.CurrentAttempt.TokenName = name
	}
	return session
}

func built(session *v1alpha1.ReactorSession) *corev1.Pod {
	return BuildPod(session, &session.Status, session.Status.CurrentAttempt, Settings{APIURL: "https://api.reactor.inc"})
}

func apiKeyEnv(session *v1alpha1.ReactorSession) {
	session.Spec.Credentials.Delivery = v1alpha1.DeliveryAPIKeyEnv
}
