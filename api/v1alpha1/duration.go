package v1alpha1

import (
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time in whole hours, minutes and seconds, such as 90s, 20m or 1h30m.
//
// It is a string with a rule. With metav1.Duration, the API server would store an invalid value such as 6hrs. The
// informer of every client would then fail to decode the list, and the operator would stop for all objects.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}[hms]){1,3}$`
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}[hms]){1,3}$')",message="A duration must be in whole hours, minutes and seconds. Write for example 90s, 20m or 1h30m."
type Duration string

// Std converts to a time.Duration. It returns 0, which means "not set", for the empty string and for text that is not a
// duration. The rule of the API server rejects such text.
func (d Duration) Std() time.Duration {
	std, err := time.ParseDuration(string(d))
	if err != nil || std < 0 {
		return 0
	}
	return std.Truncate(time.Second)
}

// maxDuration is the longest time in whole hours that the rule of Duration accepts.
const maxDuration = 99999 * time.Hour

// DurationOf writes a time.Duration the way that users write it: whole seconds, no zero units (1h, not 1h0m0s). A
// negative duration, or one shorter than a second, becomes 0s. A duration over 99999h becomes 99999h, because the API
// server rejects a status with more digits. Without this limit, an absurd expiry in a response would block status
// writes.
func DurationOf(std time.Duration) Duration {
	seconds := int64(min(std, maxDuration) / time.Second)
	if seconds <= 0 {
		return "0s"
	}
	var text strings.Builder
	for _, unit := range []struct {
		name    string
		seconds int64
	}{{"h", 3600}, {"m", 60}, {"s", 1}} {
		if count := seconds / unit.seconds; count > 0 {
			text.WriteString(strconv.FormatInt(count, 10) + unit.name)
			seconds %= unit.seconds
		}
	}
	return Duration(text.String())
}
