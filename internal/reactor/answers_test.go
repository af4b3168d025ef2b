package reactor

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestEveryStatusHasItsClass(t *testing.T) {
	named := map[int]Class{401: ClassKeyRefused, 429: ClassKeyLimited, 408: ClassUnavailable}
	for status := -1; status <= 1000; status++ {
		want, ok := named[status]
		switch {
		case ok:
		case status >= 200 && status <= 299:
			want = ClassNone
		case status >= 300 && status <= 499:
			want = ClassRequestRefused
		default:
			want = ClassUnavailable
		}
		if got := classOfStatus(status); got != want {
			t.Errorf("status %d is %s, want %s", status, got, want)
		}
	}
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
		{"an error of other origin is nobody's matter", context.Canceled, ClassUnavailable},
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
