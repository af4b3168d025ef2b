package apimodel

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func BenchmarkStatusUpdate(b *testing.B) {
	api := New(Options{}).Client("somebody")
	token := tokenNamed("t")
	if err := api.Create(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		token.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Because", ObservedGeneration: int64(i)}}
		if err := api.Status().Update(b.Context(), token, client.FieldOwner("operator")); err != nil {
			b.Fatal(err)
		}
	}
}
