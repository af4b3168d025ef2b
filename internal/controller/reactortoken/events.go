package reactortoken

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// minReportedSkew is the difference between the operator's clock and Reactor's that an event reports.
const minReportedSkew = 30 * time.Second

// eventsOf returns the events for the transitions from the previous status to the one that is written now.
func eventsOf(token *v1alpha1.ReactorToken, observed *observation, v *statusInput, status *v1alpha1.ReactorTokenStatus) []notice.Notice {
	var report []notice.Notice
	if v.result.issued {
		report = append(report, notice.Normal("TokenIssued", "RequestToken", "wrote a new token to Secret %q (%s); it is valid until %s",
			token.TargetSecretName(), v.planned.cause, v.result.record.ExpiresAt.Format(time.RFC3339)))
	}
	if v.result.adopted {
		report = append(report, notice.Normal("SecretAdopted", "AdoptSecret", "writes to Secret %q, whose annotation allows it", token.TargetSecretName()))
	}
	if v.result.repaired && v.contestEndsAt.IsZero() { // a contest is reported once
		report = append(report, notice.Normal("SecretRepaired", "RepairSecret", "repaired Secret %q, with the token that it has", token.TargetSecretName()))
	}
	report = append(report, failureEvents(&observed.status, status)...)
	report = append(report, clockEvents(observed, v)...)
	if status.ObservedGeneration != observed.status.ObservedGeneration {
		report = append(report, settingEvents(token)...)
	}
	return append(report, v.result.notices...)
}

// failureEvents returns the events for a renewal that starts to fail, or fails for another reason, and for a token that expired.
func failureEvents(before, after *v1alpha1.ReactorTokenStatus) []notice.Notice {
	var report []notice.Notice
	was, is := reasonIf(before, v1alpha1.ConditionRenewed, metav1.ConditionFalse), reasonIf(after, v1alpha1.ConditionRenewed, metav1.ConditionFalse)
	if is != "" && is != was {
		eventType := corev1.EventTypeWarning
		if is == v1alpha1.ReasonSuspended {
			eventType = corev1.EventTypeNormal
		}
		report = append(report, notice.Notice{Kind: eventType, Reason: is, Action: "RequestToken", Note: messageOf(after, v1alpha1.ConditionRenewed)})
	}
	wasReady, isReady := reasonIf(before, v1alpha1.ConditionReady, metav1.ConditionTrue), reasonIf(after, v1alpha1.ConditionReady, metav1.ConditionTrue)
	if wasReady != "" && isReady == "" && reasonIf(after, v1alpha1.ConditionReady, metav1.ConditionFalse) == v1alpha1.ReasonTokenExpired {
		report = append(report, notice.Notice{Kind: corev1.EventTypeWarning, Reason: v1alpha1.ReasonTokenExpired, Action: "RequestToken", Note: messageOf(after, v1alpha1.ConditionReady)})
	}
	return report
}

// clockEvents returns the event for a clock of the operator that starts to differ from Reactor's.
func clockEvents(observed *observation, v *statusInput) []notice.Notice {
	if !v.result.issued || v.result.record.Skew.Abs() <= minReportedSkew {
		return nil
	}
	if before := observed.target.Record; before != nil && before.Skew.Abs() > minReportedSkew {
		return nil
	}
	return []notice.Notice{notice.Warning("ClockSkew", "RequestToken",
		"the operator's clock differs from Reactor's by %s: tokens are renewed by Reactor's clock, but the clock of the operator's node should be corrected",
		v.result.record.Skew.Abs().Round(time.Second))}
}

// settingEvents returns the events for settings of a new spec that are valid and not recommended.
func settingEvents(token *v1alpha1.ReactorToken) []notice.Notice {
	lifetime := token.Spec.EffectiveLifetime()
	renewBefore := grantOf(&token.Spec, &targetsecret.Record{ExpiresAt: time.Time{}.Add(lifetime)}).renewBefore
	if renewBefore >= rollout.KubeletRefresh || token.Spec.PromptDelivery != nil {
		return nil
	}
	return []notice.Notice{notice.Warning("RenewBeforeShort", "RequestToken",
		"a token is renewed %s before it expires, and a mounted Secret may take %s to reach its pods: they may read an expired token. Set a longer spec.lifetime or spec.renewBefore",
		v1alpha1.DurationOf(renewBefore), v1alpha1.DurationOf(rollout.KubeletRefresh))}
}

func reasonIf(status *v1alpha1.ReactorTokenStatus, conditionType string, state metav1.ConditionStatus) string {
	if condition := meta.FindStatusCondition(status.Conditions, conditionType); condition != nil && condition.Status == state {
		return condition.Reason
	}
	return ""
}

func messageOf(status *v1alpha1.ReactorTokenStatus, conditionType string) string {
	return meta.FindStatusCondition(status.Conditions, conditionType).Message
}
