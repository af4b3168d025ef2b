package v1alpha1

import (
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time in whole hours, minutes and seconds, such as 90s, 20m or 1h30m.
//
// It is a string with a rule, and not metav1.Duration, because the API server would store an unchecked 6hrs, the
// informer of every client would then fail to decode the list, and the operator would stop for everybody.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}[hms]){1,3}$`
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}[hms]){1,3}$')",message="write a duration in whole hours, minutes and seconds: for example 90s, 20m or 1h30m"
type Duration string

// Std converts to a time.Duration. It returns 0, which stands for "not set", for the empty string and for text that is no
// duration, which the API server's rule has refused.
func (d Duration) Std() time.Duration {
	std, err := time.ParseDuration(string(d))
	if err != nil || std < 0 {
		return 0
	}
	return std.Truncate(time.Second)
}

// maxDuration is the longest time in whole hours that the rule of Duration accepts.
const maxDuration = 99999 * time.Hour

// DurationOf writes a time.Duration the way that users write it: whole seconds, no zero units (1h, not 1h0m0s).
// What is negative or shorter than a second is 0s. What is longer than 99999h is 99999h: a status with more digits would
// be refused by the API server, and an absurd expiry from outside must not keep a status from being written.
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
