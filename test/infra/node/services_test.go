package node

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestTheNameOfAServiceHasItsClusterIP(t *testing.T) {
	clusterIP := func(namespace, name string) (netip.Addr, bool) {
		return netip.MustParseAddr("10.0.0.7"), namespace == "trial" && name == "emulator"
	}
	tests := map[string]struct {
		name        string
		kind        dnsmessage.Type
		wantCode    dnsmessage.RCode
		wantAnswers int
	}{
		"its whole name":                 {name: "emulator.trial.svc.cluster.local.", kind: dnsmessage.TypeA, wantAnswers: 1},
		"in capital letters":             {name: "Emulator.Trial.SVC.cluster.local.", kind: dnsmessage.TypeA, wantAnswers: 1},
		"it has no IPv6 address":         {name: "emulator.trial.svc.cluster.local.", kind: dnsmessage.TypeAAAA},
		"another name":                   {name: "other.trial.svc.cluster.local.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
		"the name of a search path":      {name: "emulator.trial.svc.trial.svc.cluster.local.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
		"a name outside of the cluster":  {name: "api.reactor.inc.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
		"the domain without a Service":   {name: "svc.cluster.local.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
		"a namespace without a Service":  {name: "trial.svc.cluster.local.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
		"the name of a pod of a Service": {name: "pod.emulator.trial.svc.cluster.local.", kind: dnsmessage.TypeA, wantCode: dnsmessage.RCodeNameError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			question := dnsmessage.Question{Name: dnsmessage.MustNewName(test.name), Type: test.kind, Class: dnsmessage.ClassINET}
			asked := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}
			query, err := asked.Pack()
			if err != nil {
				t.Fatal(err)
			}
			packed, err := answerQuery(query, clusterIP)
			if err != nil {
				t.Fatal(err)
			}
			var answer dnsmessage.Message
			if err := answer.Unpack(packed); err != nil {
				t.Fatal(err)
			}
			if answer.ID != 7 || !answer.Response || answer.RCode != test.wantCode || len(answer.Answers) != test.wantAnswers {
				t.Errorf("the answer is %s", answer.GoString())
			}
			for _, resource := range answer.Answers {
				if got, ok := resource.Body.(*dnsmessage.AResource); !ok || got.A != [4]byte{10, 0, 0, 7} {
					t.Errorf("the answer has %s", resource.GoString())
				}
			}
		})
	}
}

func TestWhatIsNoQueryGetsNoAnswer(t *testing.T) {
	if answer, err := answerQuery([]byte("hello"), nil); err == nil {
		t.Errorf("the answer is %q", answer)
	}
}

func TestAServiceHasTheAddressesOfItsReadyPods(t *testing.T) {
	all := []*discoveryv1.EndpointSlice{
		{
			Ports: []discoveryv1.EndpointPort{{Name: new("metrics"), Port: new(int32(9090))}, {Name: new("http"), Port: new(int32(8080))}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"198.19.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
				{Addresses: []string{"198.19.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
				{Addresses: []string{"198.19.0.4"}},
			},
		},
		{
			Ports:     []discoveryv1.EndpointPort{{Name: new("metrics"), Port: new(int32(9090))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"198.19.0.5"}}},
		},
	}
	if diff := cmp.Diff([]string{"198.19.0.2:8080", "198.19.0.4:8080"}, addresses(all, "http")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
