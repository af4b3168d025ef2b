package apimodel

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// secretRules are those of kubernetes/pkg/registry/core/secret.
func secretRules() rules {
	return rules{
		defaults:    defaultSecret,
		checkUpdate: checkSecretUpdate,
		fields: func(object client.Object) fields.Set {
			secret, _ := object.(*corev1.Secret)
			return fields.Set{"type": string(secret.Type)}
		},
	}
}

func defaultSecret(object client.Object) {
	secret, _ := object.(*corev1.Secret)
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	for key, value := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(value)
	}
	secret.StringData = nil
}

func checkSecretUpdate(changed, live client.Object) field.ErrorList {
	after, _ := changed.(*corev1.Secret)
	before, _ := live.(*corev1.Secret)
	var wrong field.ErrorList
	if after.Type != before.Type {
		wrong = append(wrong, field.Invalid(field.NewPath("type"), after.Type, "field is immutable"))
	}
	if before.Immutable == nil || !*before.Immutable {
		return wrong
	}
	if after.Immutable == nil || !*after.Immutable {
		wrong = append(wrong, field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set"))
	}
	if !reflect.DeepEqual(after.Data, before.Data) {
		wrong = append(wrong, field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set"))
	}
	return wrong
}
