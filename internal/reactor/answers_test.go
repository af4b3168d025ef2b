package reactor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestEveryAnswerHasItsClass(t *testing.T) {
	for status := -1; status <= 1000; status++ {
		for _, proven := range []bool{false, true} {
			want, wantIntermediary := ClassUnavailable, true
			switch {
			case status >= 200 && status <= 299:
				want, wantIntermediary = ClassNone, false
			case status == 401:
				want, wantIntermediary = ClassKeyRefused, false
			case status == 429:
				want, wantIntermediary = ClassKeyLimited, false
			case status == 407:
			case status == 408 && proven:
				wantIntermediary = false
			case status >= 400 && status <= 499 && proven:
				want, wantIntermediary = ClassRequestRefused, false
			case status >= 500 && status <= 599:
				wantIntermediary = false
			}
			class, intermediary := classOfAnswer(status, proven)
			if class != want || intermediary != wantIntermediary {
				t.Errorf("status %d, proven %t: got %s, intermediary %t, want %s, %t", status, proven, class, intermediary, want, wantIntermediary)
			}
		}
	}
}

func TestOnlyABodyInTheFormOfReactorsErrorsIsProven(t *testing.T) {
	tests := []struct {
		name, body string
		want       refusal
	}{
		{"a code", `{"error":"credits_depleted","message":"Your credits have been depleted."}`, refusal{proven: true}},
		{"a sentence, with blanks around", " {\"error\": \"model not found\"}\n", refusal{proven: true}},
		{"a retry time", `{"error":"quota_exceeded","retry_after_seconds":2}`, refusal{true, 2 * time.Second}},
		{"a retry time with a fraction is rounded up", `{"error":"quota_exceeded","retry_after_seconds":0.2}`, refusal{true, time.Second}},
		{"a retry time of years", `{"error":"quota_exceeded","retry_after_seconds":1e300}`, refusal{true, 24 * time.Hour}},
		{"a negative retry time", `{"error":"quota_exceeded","retry_after_seconds":-7}`, refusal{proven: true}},
		{"a retry time that is a text", `{"error":"quota_exceeded","retry_after_seconds":"2"}`, refusal{proven: true}},
		{"nothing", "", refusal{}},
		{"a page", "<html><title>403 Forbidden</title></html>", refusal{}},
		{"Cloudflare's text", "error code: 1010", refusal{}},
		{"problem details of RFC 9457", `{"type":"https://example.com","title":"Access denied","status":403,"retry_after_seconds":30}`, refusal{}},
		{"an error that is an object", `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`, refusal{}},
		{"an error that is null", `{"error":null}`, refusal{}},
		{"another spelling", `{"Error":"Forbidden"}`, refusal{}},
		{"a list", `[{"error":"model not found"}]`, refusal{}},
		{"an object that is cut", `{"error":"model not fou`, refusal{}},
		{"an object with something behind it", `{"error":"model not found"}<!-- proxy -->`, refusal{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := refusalIn([]byte(test.body)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func FuzzRefusal(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"error":"x","retry_after_seconds":2}`, `{"error":"x","retry_after_seconds":1e308}`, "<html>", "null"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := refusalIn(body); got.retryAfter < 0 || got.retryAfter > 24*time.Hour || got.retryAfter > 0 && !got.proven {
			t.Errorf("%q: %+v", body, got)
		}
	})
}

func TestTheClassOfAnErrorIsFound(t *testing.T) {
	limited := &Error{Class: ClassKeyLimited, StatusCode: 429}
	tests := []struct {
		name string
		err  error
		want Class
	}{
		{"no error has none", nil, ClassNone},
		{"an error of this package", limited, ClassKeyLimited},
		{"a wrapped one", fmt.Errorf("token studio/web: %w", limited), ClassKeyLimited},
		{"a joined one", errors.Join(errors.New("other"), limited), ClassKeyLimited},
		{"another error requires no action by a user", context.Canceled, ClassUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ClassOf(test.err); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestClassesHaveNames(t *testing.T) {
	for class, want := range map[Class]string{ClassNone: "None", ClassKeyRefused: "KeyRefused", ClassKeyLimited: "KeyLimited",
		ClassRequestRefused: "RequestRefused", ClassUnavailable: "Unavailable", Class(42): "Unknown"} {
		if got := class.String(); got != want {
			t.Errorf("class %d is called %s, want %s", int(class), got, want)
		}
	}
}
