package attempts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// What an attempt requests for its token is stored as a hash in status. The ReactorToken itself is no record of it: admission policies
// and other clients may change its spec.

// tokenRequest is the input of the request hash. A new field must be omitted while it is not used. Otherwise an upgrade of the operator would start
// all waiting attempts again. The golden hash in the tests ensures that.
type tokenRequest struct {
	APIKeySecret              string   `json:"apiKeySecret"`
	LifetimeSeconds           int64    `json:"lifetimeSeconds"`
	Models                    []string `json:"models"`
	MaxSessions               int32    `json:"maxSessions"`
	MaxSessionDurationSeconds int64    `json:"maxSessionDurationSeconds"`
}

func requestIn(spec *v1alpha1.ReactorTokenSpec) tokenRequest {
	request := tokenRequest{
		APIKeySecret:    spec.APIKeySecretRef.Name + "/" + spec.APIKeySecretRef.EffectiveKey(),
		LifetimeSeconds: int64(spec.EffectiveLifetime() / time.Second),
	}
	if scope := spec.Scope; scope != nil {
		for _, model := range scope.Models {
			request.Models = append(request.Models, string(model))
		}
		slices.Sort(request.Models)
		request.MaxSessions, request.MaxSessionDurationSeconds = scope.MaxSessions, int64(scope.MaxSessionDuration.Std()/time.Second)
	}
	return request
}

// RequestHash identifies what the spec of a ReactorToken requests.
func RequestHash(spec *v1alpha1.ReactorTokenSpec) string {
	text, err := json.Marshal(requestIn(spec))
	if err != nil {
		panic("strings and integers always marshal: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// IsOutdated reports whether the spec requests another credential than the current attempt, which waits, was started with. The next attempt
// requests that one. An existing token is never changed while a program has it.
func IsOutdated(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, token *v1alpha1.ReactorToken, pod *corev1.Pod) bool {
	attempt := status.CurrentAttempt
	switch {
	case session.Spec.UsesTokenFile() != (attempt.TokenName != ""):
		return true
	case attempt.RequestHash == "": // of an earlier version of the operator: its token is the only record of what it requested
		return len(TokenChanges(session, status, token, pod)) > 0
	default:
		return attempt.RequestHash != RequestHash(WantedToken(session, status))
	}
}

// WantedToken is what the spec requests for the token of the current attempt.
func WantedToken(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus) *v1alpha1.ReactorTokenSpec {
	return &BuildToken(session, status, status.CurrentAttempt, Settings{}).Spec
}

// TokenChanges are the fields in which the token of the current attempt differs from what the attempt requested. They are known only while the
// spec requests the same as the attempt. token and pod are those of the attempt; nil if they do not exist.
func TokenChanges(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, token *v1alpha1.ReactorToken, pod *corev1.Pod) []FieldChange {
	attempt := status.CurrentAttempt
	if attempt == nil || attempt.TokenName == "" || token == nil {
		return nil
	}
	wanted := WantedToken(session, status)
	if attempt.RequestHash == "" && pod != nil || attempt.RequestHash != "" && attempt.RequestHash != RequestHash(wanted) {
		return nil
	}
	return changesOf(&token.Spec, wanted)
}

// Intolerable reports whether a pod must not get a token with these changes.
func Intolerable(changes []FieldChange) bool {
	return slices.ContainsFunc(changes, func(change FieldChange) bool { return !change.isTolerable() })
}

// FieldChange is a field of a ReactorToken's spec whose value is not the requested one.
type FieldChange struct {
	field       []string // its path in the object
	has, wanted string
}

func (c FieldChange) path() string { return strings.Join(c.field, ".") }

// isTolerable reports whether the attempt can still use the token. A token with another lifetime is renewed in time. Another key or
// scope is another permission, and without its maxSessionDuration nothing would end the billing when everything else fails.
func (c FieldChange) isTolerable() bool { return c.path() == "spec.lifetime" }

// changesOf are the fields in which the spec of a ReactorToken is not the requested one.
func changesOf(has, wanted *v1alpha1.ReactorTokenSpec) []FieldChange {
	is, asked := requestIn(has), requestIn(wanted)
	var changes []FieldChange
	compare := func(has, wanted any, field ...string) {
		if has, wanted := fmt.Sprint(has), fmt.Sprint(wanted); has != wanted {
			changes = append(changes, FieldChange{append([]string{"spec"}, field...), has, wanted})
		}
	}
	seconds := func(s int64) v1alpha1.Duration { return v1alpha1.DurationOf(time.Duration(s) * time.Second) }
	compare(is.APIKeySecret, asked.APIKeySecret, "apiKeySecretRef")
	compare(is.Models, asked.Models, "scope", "models")
	compare(is.MaxSessions, asked.MaxSessions, "scope", "maxSessions")
	compare(seconds(is.MaxSessionDurationSeconds), seconds(asked.MaxSessionDurationSeconds), "scope", "maxSessionDuration")
	compare(seconds(is.LifetimeSeconds), seconds(asked.LifetimeSeconds), "lifetime")
	return changes
}

// DescribeChanges describes the changes and the managers of the changed fields.
func DescribeChanges(token *v1alpha1.ReactorToken, changes []FieldChange, managers []metav1.ManagedFieldsEntry) string {
	texts := make([]string, 0, len(changes))
	for _, change := range changes {
		texts = append(texts, fmt.Sprintf("%s changed %s from %s to %s", managerOf(managers, change.field...), change.path(), change.wanted, change.has))
	}
	return fmt.Sprintf("in ReactorToken %q, %s", token.Name, strings.Join(texts, "; "))
}

// managerOf describes the manager of a field of an object. A webhook changes an object within a write of the operator, so the operator is the
// manager of what the webhook changed.
func managerOf(entries []metav1.ManagedFieldsEntry, field ...string) string {
	var others []string
	ours := false
	for _, entry := range entries {
		switch {
		case !manages(entry, field):
		case entry.Manager == FieldOwner:
			ours = true
		default:
			others = append(others, fmt.Sprintf("field manager %q", entry.Manager))
		}
	}
	switch {
	case len(others) > 0:
		return strings.Join(others, ", ")
	case ours:
		return "an admission policy or webhook"
	default:
		return "an unknown client"
	}
}

func manages(entry metav1.ManagedFieldsEntry, field []string) bool {
	if entry.FieldsV1 == nil {
		return false
	}
	fields := map[string]any{}
	if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
		return false
	}
	for _, name := range field {
		inner, ok := fields["f:"+name].(map[string]any)
		if !ok {
			return false
		}
		fields = inner
	}
	return true
}
