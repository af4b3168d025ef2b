package apimodel

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// customRules are those of CRDs with the status subresource (apiextensions-apiserver/pkg/registry/customresource).
func customRules() rules {
	return rules{
		custom: true, hasStatus: true,
		prepareCreate: func(created client.Object, _ metav1.Time) {
			clearMember(created, "Status")
			created.SetGeneration(1)
		},
		prepareUpdate: func(changed, live client.Object) {
			keep(changed, live, "Status")
			if !equal(changed, live, "Spec") {
				changed.SetGeneration(live.GetGeneration() + 1)
			}
		},
		prepareStatus: func(changed, live client.Object) {
			fields := changed.GetManagedFields()
			keep(changed, live, "Spec")
			keep(changed, live, "ObjectMeta")
			changed.SetManagedFields(fields)
		},
		resetByUpdate: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		resetByStatus: []fieldpath.Path{fieldpath.MakePathOrDie("metadata"), fieldpath.MakePathOrDie("spec")},
	}
}

func tokenRules() rules {
	r := customRules()
	r.fields = func(object client.Object) fields.Set {
		token, _ := object.(*v1alpha1.ReactorToken)
		return fields.Set{"spec.apiKeySecretRef.name": token.Spec.APIKeySecretRef.Name, "status.secretName": token.Status.SecretName}
	}
	return r
}

func sessionRules() rules {
	r := customRules()
	r.fields = func(object client.Object) fields.Set {
		session, _ := object.(*v1alpha1.ReactorSession)
		return fields.Set{"spec.apiKeySecretRef.name": session.Spec.APIKeySecretRef.Name, "spec.model": string(session.Spec.Model)}
	}
	return r
}
