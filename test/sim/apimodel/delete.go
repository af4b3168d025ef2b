package apimodel

import (
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// delete deletes an object, or marks it to be deleted (apiserver/pkg/registry/rest/delete.go, and the Delete of generic/registry).
func (s *Server) delete(k *kind, key client.ObjectKey, options *metav1.DeleteOptions) error {
	live, err := s.live(k, key)
	if err != nil {
		return err
	}
	if err := k.fulfils(live, options.Preconditions); err != nil {
		return err
	}
	doomed, _ := live.DeepCopyObject().(client.Object)
	graceful, pending := s.beginGrace(k, doomed, options.GracePeriodSeconds)
	if pending {
		return nil
	}
	doomed.SetFinalizers(finalizersFor(doomed, options.PropagationPolicy))
	kept := len(doomed.GetFinalizers()) > 0
	if !graceful && !kept {
		s.remove(k, key)
		return nil
	}
	if !graceful {
		s.markDeleted(doomed)
	}
	if !sameObject(doomed, live) {
		s.put(k, doomed)
	}
	if graceful && !kept && *doomed.GetDeletionGracePeriodSeconds() == 0 {
		s.remove(k, key)
	}
	return nil
}

// fulfils checks preconditions.
func (k *kind) fulfils(live client.Object, wanted *metav1.Preconditions) error {
	switch {
	case wanted == nil:
	case wanted.UID != nil && *wanted.UID != live.GetUID():
		return apierrors.NewConflict(k.resource, live.GetName(), fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). "+
			"The object might have been deleted and then recreated", *wanted.UID, live.GetUID()))
	case wanted.ResourceVersion != nil && *wanted.ResourceVersion != live.GetResourceVersion():
		return apierrors.NewConflict(k.resource, live.GetName(), fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). "+
			"The object might have been modified", *wanted.ResourceVersion, live.GetResourceVersion()))
	}
	return nil
}

// beginGrace sets the grace period of an object, or shortens it. pending means that the one which it has is to be waited for.
func (s *Server) beginGrace(k *kind, object client.Object, asked *int64) (graceful, pending bool) {
	if k.grace == nil {
		return false, false
	}
	if asked != nil && *asked < 0 {
		asked = new(int64(1))
	}
	if object.GetDeletionTimestamp() == nil {
		period := k.grace(object, asked)
		object.SetDeletionTimestamp(new(metav1.NewTime(s.now().Add(time.Duration(period) * time.Second))))
		object.SetDeletionGracePeriodSeconds(&period)
		if object.GetGeneration() > 0 {
			object.SetGeneration(object.GetGeneration() + 1)
		}
		return true, false
	}
	if noGrace(object) {
		return false, false
	}
	granted := *object.GetDeletionGracePeriodSeconds()
	if asked == nil || *asked >= granted {
		return false, true
	}
	period := *asked
	end := metav1.NewTime(object.GetDeletionTimestamp().Add(time.Duration(period-granted) * time.Second))
	if now := s.now(); end.Before(&now) {
		end = now
		period = min(period, 1)
	}
	object.SetDeletionTimestamp(&end)
	object.SetDeletionGracePeriodSeconds(&period)
	return true, false
}

// finalizersFor are the finalizers of an object that is deleted, with those by which the collector deletes or keeps its dependents.
func finalizersFor(object client.Object, how *metav1.DeletionPropagation) []string {
	if how == nil {
		return object.GetFinalizers()
	}
	left := slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(name string) bool {
		return name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents
	})
	switch *how {
	case metav1.DeletePropagationOrphan:
		left = append(left, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		left = append(left, metav1.FinalizerDeleteDependents)
	case metav1.DeletePropagationBackground:
	}
	return left
}

// markDeleted marks an object of a kind without graceful deletion.
func (s *Server) markDeleted(object client.Object) {
	now := s.now()
	if object.GetDeletionTimestamp() == nil && object.GetGeneration() > 0 {
		object.SetGeneration(object.GetGeneration() + 1)
	}
	if at := object.GetDeletionTimestamp(); at == nil || at.After(now.Time) {
		object.SetDeletionTimestamp(&now)
	}
	object.SetDeletionGracePeriodSeconds(new(int64(0)))
}
