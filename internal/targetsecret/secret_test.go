package targetsecret

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

func TestARecordIsReadBackAsItWasWritten(t *testing.T) {
	for name, written := range map[string]*Record{
		"a plain one":            aRecord(),
		"with a renew request":   aRecord(func(r *Record) { r.RenewRequest = "2026-03-01T12:00:00Z" }),
		"with a skew":            aRecord(func(r *Record) { r.Skew = -1500 * time.Millisecond }),
		"with hours of skew":     aRecord(func(r *Record) { r.Skew = 7*time.Hour + 3*time.Millisecond }),
		"of a token just minted": NewRecord(reactor.Token{JWT: aJWT, IssuedAt: noon, ExpiresAt: noon.Add(6 * time.Hour)}, "token-2", RequestIdentity{RequestHash: aRequestHash, KeyFingerprint: goodKey}),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(written, ReadRecord(written.annotations())); diff != "" {
				t.Errorf("record (-written +read):\n%s", diff)
			}
		})
	}
}

// What an earlier version of the operator wrote must be readable permanently.
func TestTheRecordsOfRunningInstallationsAreRead(t *testing.T) {
	got := ReadRecord(map[string]string{
		"reactor.inc/token-id": "token-1", "reactor.inc/issued-at": "2026-03-01T11:00:00Z", "reactor.inc/expires-at": "2026-03-01T17:00:00Z",
		"reactor.inc/clock-skew": "-1.5s", "reactor.inc/key-fingerprint": "0123456789abcdef", "reactor.inc/request-hash": "6678057d347f3ffde5ef2e46ce582ce2",
		"reactor.inc/token-checksum": "sum", "reactor.inc/handled-renew-request": "now", "reactor.inc/token-name": "web", "unrelated": "x",
	})
	want := &Record{TokenID: "token-1", IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(5 * time.Hour), Skew: -1500 * time.Millisecond,
		KeyFingerprint: goodKey, RequestHash: "6678057d347f3ffde5ef2e46ce582ce2", Checksum: "sum", RenewRequest: "now"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestAGarbledRecordIsNone(t *testing.T) {
	set := func(name, value string) func(map[string]string) {
		return func(annotations map[string]string) { annotations[name] = value }
	}
	for name, garble := range map[string]func(map[string]string){
		"no annotations at all":         func(a map[string]string) { clear(a) },
		"no issue time":                 set(v1alpha1.IssuedAtAnnotation, ""),
		"an issue time that is none":    set(v1alpha1.IssuedAtAnnotation, "noon"),
		"no expiry":                     set(v1alpha1.ExpiresAtAnnotation, ""),
		"an expiry in Unix seconds":     set(v1alpha1.ExpiresAtAnnotation, "1795400000"),
		"an expiry before the issue":    set(v1alpha1.ExpiresAtAnnotation, "2026-03-01T10:00:00Z"),
		"an expiry with the issue":      set(v1alpha1.ExpiresAtAnnotation, "2026-03-01T11:00:00Z"),
		"no skew":                       set(v1alpha1.ClockSkewAnnotation, ""),
		"a skew without a unit":         set(v1alpha1.ClockSkewAnnotation, "10"),
		"no token id":                   set(v1alpha1.TokenIDAnnotation, ""),
		"no checksum":                   set(v1alpha1.TokenChecksumAnnotation, ""),
		"a lifetime of centuries":       set(v1alpha1.ExpiresAtAnnotation, "9999-12-31T23:59:59Z"),
		"a time of a year out of reach": set(v1alpha1.ExpiresAtAnnotation, "99999-01-01T00:00:00Z"),
	} {
		t.Run(name, func(t *testing.T) {
			annotations := aRecord().annotations()
			garble(annotations)
			if got := ReadRecord(annotations); got != nil {
				t.Errorf("read as %+v", got)
			}
		})
	}
}

func TestTheChecksumCoversTheTokenAndItsRecord(t *testing.T) {
	want := aRecord().Checksum
	if got := Checksum(aJWT+"x", aRecord()); got == want {
		t.Error("another token has the same checksum")
	}
	for name := range aRecord(func(r *Record) { r.RenewRequest = "now" }).annotations() {
		if name == v1alpha1.TokenChecksumAnnotation {
			continue
		}
		changed := aRecord(func(r *Record) {
			switch name {
			case v1alpha1.TokenIDAnnotation:
				r.TokenID = "x"
			case v1alpha1.IssuedAtAnnotation:
				r.IssuedAt = noon
			case v1alpha1.ExpiresAtAnnotation:
				r.ExpiresAt = noon
			case v1alpha1.ClockSkewAnnotation:
				r.Skew = 1
			case v1alpha1.KeyFingerprintAnnotation:
				r.KeyFingerprint = "x"
			case v1alpha1.RequestHashAnnotation:
				r.RequestHash = "x"
			case v1alpha1.HandledRenewRequestAnnotation:
				r.RenewRequest = "x"
			default:
				t.Errorf("no case for %s", name)
			}
		})
		if changed.Checksum == want {
			t.Errorf("another %s has the same checksum", name)
		}
	}
}

// golden is a Secret as it is created and applied, without the two random parts.
func TestBuildSecret(t *testing.T) {
	owner := `"ownerReferences":[{"apiVersion":"reactor.inc/v1alpha1","kind":"ReactorToken","name":"web","uid":"5b6a4f6e-0000-4000-8000-000000000001","controller":true}]`
	ours := `"reactor.inc/clock-skew":"0s","reactor.inc/expires-at":"2026-03-01T17:00:00Z","reactor.inc/issued-at":"2026-03-01T11:00:00Z",` +
		`"reactor.inc/key-fingerprint":"0123456789abcdef","reactor.inc/request-hash":"6678057d347f3ffde5ef2e46ce582ce2",` +
		`"reactor.inc/secret-name":"SECRET",` +
		`"reactor.inc/token-checksum":"` + aRecord().Checksum + `","reactor.inc/token-id":"token-1","reactor.inc/token-name":"web",` +
		`"reactor.inc/token-uid":"5b6a4f6e-0000-4000-8000-000000000001"`
	data := `"expires_at":"MTc3MjM4NDQwMA==","jwt":"ZXlKaGJHY2lPaUpJVXpJMU5pSjkuZXlKcFlYUWlPakY5LmMybG5ibUYwZFhKbA=="`
	tests := []struct {
		name    string
		token   func(*v1alpha1.ReactorToken)
		adopted bool
		want    string
	}{
		{name: "of its own", token: func(*v1alpha1.ReactorToken) {}, want: `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"web","namespace":"studio",` +
			`"labels":{"app.kubernetes.io/managed-by":"reactor-operator"},"annotations":{` + ours + `},` + owner + `},"data":{` + data + `},"type":"Opaque"}`},
		{name: "under another name, with labels, annotations and keys", token: func(token *v1alpha1.ReactorToken) {
			dressed(token)
			token.Spec.Secret.Name = "elsewhere"
			token.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{{Name: "h", Format: v1alpha1.FormatAuthorizationHeader}}
		}, want: `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"elsewhere","namespace":"studio",` +
			`"labels":{"app.kubernetes.io/managed-by":"reactor-operator","team":"web"},"annotations":{"example.com/team":"web",` + ours + `},` + owner + `},` +
			`"data":{"expires_at":"MTc3MjM4NDQwMA==","h":"QmVhcmVyIGV5SmhiR2NpT2lKSVV6STFOaUo5LmV5SnBZWFFpT2pGOS5jMmxuYm1GMGRYSmw=",` +
			`"jwt":"ZXlKaGJHY2lPaUpJVXpJMU5pSjkuZXlKcFlYUWlPakY5LmMybG5ibUYwZFhKbA=="},"type":"Opaque"}`},
		{name: "that must stay", token: retained, want: `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"web","namespace":"studio",` +
			`"labels":{"app.kubernetes.io/managed-by":"reactor-operator"},"annotations":{"reactor.inc/deletion-policy":"Retain",` + ours + `}},` +
			`"data":{` + data + `},"type":"Opaque"}`},
		{name: "that belongs to another owner", token: func(*v1alpha1.ReactorToken) {}, adopted: true, want: `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"web","namespace":"studio",` +
			`"annotations":{"reactor.inc/adopted":"true",` + ours + `}},"data":{` + data + `},"type":"Opaque"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			desired := Build(aToken(test.token), aJWT, aRecord(), test.adopted)
			test.want = strings.ReplaceAll(test.want, "SECRET", desired.Name)
			created := desired.Object()
			created.TypeMeta = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}
			wantJSON(t, "created", test.want, created)

			// What is applied is the same, with the preconditions, and without the type, which no client can change.
			var want map[string]any
			if err := json.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			delete(want, "type")
			maps.Copy(want["metadata"].(map[string]any), map[string]any{"uid": "secret-uid", "resourceVersion": "7"})
			text, _ := json.Marshal(want)
			wantJSON(t, "applied", string(text), desired.ApplyConfiguration("secret-uid", "7"))
		})
	}
}

func wantJSON(t *testing.T, what, want string, object any) {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(text []byte) (decoded any) {
		if err := json.Unmarshal(text, &decoded); err != nil {
			t.Fatal(err)
		}
		return decoded
	}
	if diff := cmp.Diff(decode([]byte(want)), decode(text)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestSatisfiedBy(t *testing.T) {
	tests := []struct {
		name   string
		change func(*corev1.Secret)
		want   bool
	}{
		{"as it was written", func(*corev1.Secret) {}, true},
		{"with a foreign key, label and annotation", func(s *corev1.Secret) {
			s.Data["theirs"], s.Labels["theirs"], s.Annotations["theirs"] = []byte("x"), "x", "x"
		}, true},
		{"with another owner in addition to ours", func(s *corev1.Secret) {
			s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{UID: "other"})
		}, true},
		{"without a key", func(s *corev1.Secret) { delete(s.Data, "token.env") }, false},
		{"with another value of a key", func(s *corev1.Secret) { s.Data["token.env"] = []byte("x") }, false},
		{"with an empty key", func(s *corev1.Secret) { s.Data["token.env"] = nil }, false},
		{"without a label", func(s *corev1.Secret) { delete(s.Labels, "team") }, false},
		{"with another value of a label", func(s *corev1.Secret) { s.Labels["team"] = "x" }, false},
		{"without an annotation", func(s *corev1.Secret) { delete(s.Annotations, "example.com/team") }, false},
		{"with another value of an annotation", func(s *corev1.Secret) { s.Annotations[v1alpha1.TokenUIDAnnotation] = "x" }, false},
		{"without its owner", func(s *corev1.Secret) { s.OwnerReferences = nil }, false},
		{"with a key of ours that is not wanted any more", func(s *corev1.Secret) {
			s.ManagedFields = managing(`{"f:data":{"f:jwt":{},"f:old":{}}}`)
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			desired := Build(aToken(dressed), aJWT, aRecord(), false)
			live := desired.Object()
			test.change(live)
			if got := desired.SatisfiedBy(live); got != test.want {
				t.Errorf("satisfied: %v, want %v", got, test.want)
			}
		})
	}
	t.Run("owned although it must stay", func(t *testing.T) {
		live := Build(aToken(), aJWT, aRecord(), false).Object()
		desired := Build(aToken(retained), aJWT, aRecord(), false)
		live.Annotations = desired.Annotations
		if desired.SatisfiedBy(live) {
			t.Error("an owner reference would delete a Secret that must stay")
		}
	})
}
