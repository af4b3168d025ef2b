package reactortoken

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/test/sim/controllertest"
)

// call is one request of the operator.
type call = controllertest.Call

// errAway is what a call meets when the API server does not answer.
var errAway = errors.New("connection refused")

// forbidden refuses the writes of Secrets, as an admission policy or a quota does.
func forbidden(made call, do func() error) error {
	if made.Kind != "Secret" || !made.Writes() {
		return do()
	}
	return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, made.Name, errors.New("a policy denies it"))
}

// secretIn is a Secret with one key.
func secretIn(namespace, name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{key: []byte(value)},
	}
}

// withoutStatus is an API server that does not take the status.
func withoutStatus(made call, do func() error) error {
	if made.Verb == "update status" {
		return errAway
	}
	return do()
}
