package targetsecret

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestEachFormatOfAKey(t *testing.T) {
	jwt, expires := aJWT.Reveal(), time.Unix(1795400000, 0)
	for format, want := range map[v1alpha1.KeyFormat]string{
		v1alpha1.FormatJWT:                 jwt,
		v1alpha1.FormatExpiresAt:           "1795400000",
		v1alpha1.FormatJSON:                `{"jwt":"` + jwt + `","expires_at":1795400000}`,
		v1alpha1.FormatEnv:                 "REACTOR_JWT=" + jwt + "\nREACTOR_JWT_EXPIRES_AT=1795400000\n",
		v1alpha1.FormatAuthorizationHeader: "Bearer " + jwt,
		"OfANewerVersion":                  jwt,
	} {
		t.Run(string(format), func(t *testing.T) {
			if diff := cmp.Diff(want, string(render(format, aJWT, expires))); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONIsJSONWhateverTheTokenHolds(t *testing.T) {
	const odd = `"quoted" \ <and> &`
	var read struct{ JWT string }
	if err := json.Unmarshal(render(v1alpha1.FormatJSON, odd, noon), &read); err != nil || read.JWT != odd {
		t.Errorf("read %q, %v", read.JWT, err)
	}
}

func TestTheTwoKeysOfTheAPIAreAlwaysThere(t *testing.T) {
	got := renderKeys(aJWT, time.Unix(1795400000, 0), []v1alpha1.AdditionalKey{{Name: "token", Format: v1alpha1.FormatJWT}})
	want := map[string][]byte{"jwt": []byte(aJWT.Reveal()), "expires_at": []byte("1795400000"), "token": []byte(aJWT.Reveal())}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}
