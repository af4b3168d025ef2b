package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const auditLog = `{"stage":"ResponseComplete","verb":"get","objectRef":{"resource":"secrets","name":"reactor"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","objectRef":{"resource":"secrets"},"responseStatus":{"code":201}}
{"stage":"ResponseComplete","verb":"update","objectRef":{"resource":"reactortokens","subresource":"status"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","objectRef":{"resource":"events"},"responseStatus":{"code":201}}
{"stage":"ResponseComplete","verb":"update","objectRef":{"resource":"leases"},"responseStatus":{"code":200}}
{"stage":"ResponseStarted","verb":"watch","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"watch","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"get","responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"get","objectRef":{"resource":"sec`

func TestRequestsAreCountedByVerbAndResource(t *testing.T) {
	got, err := countRequests(strings.NewReader(auditLog))
	if err != nil {
		t.Fatal(err)
	}
	want := requestCounts{"get secrets": 1, "create secrets": 1, "update reactortokens/status": 1, "create events": 1, "watch secrets": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all, writes := got.sum(forObjects), got.sum(writesWithoutEvents); all != 3 || writes != 2 {
		t.Errorf("%d requests and %d writes beside events and watches, want 3 and 2", all, writes)
	}
	if got := (requestCounts{"get secrets": 3, "create pods": 1}).per(2); got != "create pods 0.50, get secrets 1.50" {
		t.Errorf("to one object: %s", got)
	}
}

func TestALogThatIsNoneIsAnError(t *testing.T) {
	if _, err := countRequests(strings.NewReader("not JSON\n")); err == nil {
		t.Error("no error")
	}
}
