package reactorsession

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/test/sim/controllertest"
)

// call is one request of the operator.
type call = controllertest.Call

// errAway is what a call meets when the API server does not answer.
var errAway = errors.New("connection refused")

// secretIn is a Secret with one key.
func secretIn(namespace, name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{key: []byte(value)},
	}
}
