package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// heard is what the operators of this run said where others than the readers of Secrets can hear it: logs, metrics, and all
// that they wrote to the API server, the data of Secrets apart. After the tests it is searched for every API key and every
// token of the run.
var heard hearing

type hearing struct {
	mu        sync.Mutex
	journals  []*journal
	keys      []string
	emulators []*emulator.Emulator
}

// listen returns a journal that will be searched.
func (h *hearing) listen(source string) *journal {
	h.mu.Lock()
	defer h.mu.Unlock()
	j := &journal{source: source}
	h.journals = append(h.journals, j)
	return j
}

// guard makes the key one that is searched for.
func (h *hearing) guard(key string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys = append(h.keys, key)
	return key
}

// guardTokensOf makes all tokens that the emulator ever issues such that are searched for.
func (h *hearing) guardTokensOf(reactor *emulator.Emulator) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.emulators = append(h.emulators, reactor)
}

// needles are the pieces of all the secrets of the run so far.
func (h *hearing) needles() needles {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := needles{}
	for _, key := range h.keys {
		found.add("an API key", key)
	}
	for _, reactor := range h.emulators {
		for _, token := range reactor.IssuedJWTs() {
			found.add("a token", token)
		}
	}
	return found
}

// search returns where secrets were found in what was heard, and what stands in the cluster at the end.
func (h *hearing) search(standing map[string]string) []string {
	wanted := h.needles()
	h.mu.Lock()
	defer h.mu.Unlock()
	var leaks []string
	for _, j := range h.journals {
		leaks = append(leaks, wanted.scan(j.source, j.String())...)
	}
	for source, text := range standing {
		leaks = append(leaks, wanted.scan(source, text)...)
	}
	return leaks
}

// races returns the logs in which the race detector has written.
func (h *hearing) races() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []string
	for _, j := range h.journals {
		if _, report, ok := strings.Cut(j.String(), "WARNING: DATA RACE"); ok {
			found = append(found, j.source+": DATA RACE"+report[:min(len(report), 4096)])
		}
	}
	return found
}

// gram is the length of a needle, in bytes. Each secret, in each form, is cut into pieces of this length, so that any part of
// it that is at least 2*gram-1 long contains one. 12 bytes are not found by chance.
const gram = 12

// needles are pieces of secrets, and what each is a piece of.
type needles map[string]string

// add adds a secret in all its forms: as it is, which covers each part of a JWT, in base64 as a text of its own or within a
// longer one, and as part of a URL or of JSON.
func (n needles) add(what, secret string) {
	n.cut(what, secret)
	n.cut(what+", escaped", url.QueryEscape(secret))
	for shift := range 3 {
		shifted := []byte(strings.Repeat("\x00", shift) + secret)
		n.cut(what+" in base64", base64.RawStdEncoding.EncodeToString(shifted)[(shift*8+5)/6:])
		n.cut(what+" in base64", base64.RawURLEncoding.EncodeToString(shifted)[(shift*8+5)/6:])
	}
	for part := range strings.SplitSeq(secret, ".") { // a signature alone, and what the other parts say
		n.cut(what+" in part", part)
		var claims struct{ JTI string }
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil && json.Unmarshal(decoded, &claims) == nil {
			n.cut(what+", decoded", claims.JTI)
		}
	}
}

func (n needles) cut(what, text string) {
	for piece := range slices.Chunk([]byte(text), gram) {
		if _, known := n[string(piece)]; len(piece) == gram && !known {
			n[string(piece)] = what
		}
	}
}

// scan returns what was found in the text, without quoting it.
func (n needles) scan(source, text string) []string {
	var found []string
	for i := 0; i+gram <= len(text); i++ {
		if what, ok := n[text[i:i+gram]]; ok {
			found = append(found, fmt.Sprintf("%s holds %s, at byte %d", source, what, i))
			i += 4096 // one finding is enough for one place
		}
	}
	return found
}

// spoken is what a write to the API server says to those who may not read Secrets: all of it, but the data of a Secret, and the
// credentials of who scrapes, which are a JWT too.
func spoken(r request) []byte {
	switch r.resource {
	case "tokenreviews":
		return nil
	case "secrets":
		return withoutData(r.body)
	default:
		return r.body
	}
}

// withoutData returns a Secret that is created or applied, but for its data.
func withoutData(body []byte) []byte {
	var secret map[string]any
	if json.Unmarshal(body, &secret) != nil {
		decoded, _, err := codecs.UniversalDeserializer().Decode(body, nil, &corev1.Secret{})
		if typed, ok := decoded.(*corev1.Secret); err == nil && ok {
			typed.Data = nil
			text, _ := json.Marshal(typed) // it was decoded, so that it encodes
			return text
		}
		return body // a patch of the managed fields
	}
	delete(secret, "data")
	text, _ := json.Marshal(secret)
	return text
}

// standing reads what can be read in the cluster without the right to read Secrets: the metadata, spec and status of
// everything that an operator writes to. Of Secrets it is the annotations and labels, without what kubectl apply notes down.
func standing(ctx context.Context, kube client.Client) (map[string]string, error) {
	texts := map[string]string{}
	for _, kind := range []schema.GroupVersionKind{
		{Group: "reactor.inc", Version: "v1alpha1", Kind: "ReactorToken"}, {Group: "apps", Version: "v1", Kind: "Deployment"},
		{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Event"}, eventsv1.SchemeGroupVersion.WithKind("Event"),
	} {
		list := unstructuredList(kind)
		if err := kube.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %s to search them for leaks: %w", kind.Kind, err)
		}
		text, err := list.MarshalJSON()
		if err != nil {
			return nil, err
		}
		texts["the list of "+kind.String()] = string(text)
	}
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := kube.List(ctx, secrets); err != nil {
		return nil, err
	}
	for i := range secrets.Items {
		delete(secrets.Items[i].Annotations, corev1.LastAppliedConfigAnnotation)
	}
	text, err := json.Marshal(secrets.Items)
	texts["the metadata of Secrets"] = string(text)
	return texts, err
}

func TestTheLeakScanFindsASecretInEveryForm(t *testing.T) {
	reactor := emulator.New(emulator.Options{})
	key := "rk_" + randomText()
	reactor.AddKey(key)
	token := mintDirectly(t, reactor, key)
	var planted hearing
	planted.guard(key)
	planted.guardTokensOf(reactor)
	parts := strings.Split(token, ".")
	encode := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"an API key":                    "using key " + key + " now",
		"an API key in JSON":            `{"apiKey":"` + key + `"}`,
		"an API key in base64":          "data: " + encode([]byte(key)),
		"a line with a key in base64":   encode([]byte("api-key: " + key + "\n")),
		"a token":                       "Authorization: Bearer " + token,
		"a token without its signature": parts[0] + "." + parts[1],
		"a signature":                   "signature=" + parts[2],
		"what a token says":             string(must(base64.RawURLEncoding.DecodeString(parts[1]))),
		"a token in base64":             encode([]byte(token)),
		"a token in base64 for URLs":    base64.URLEncoding.EncodeToString([]byte(token)),
		"a token in unpadded base64":    base64.RawStdEncoding.EncodeToString([]byte(token)),
		"an Env file in base64":         encode([]byte("REACTOR_JWT=" + token + "\n")),
		"half a token":                  token[:len(token)/2],
		"the end of a key":              "…" + key[len(key)-2*gram:],
	} {
		t.Run(name, func(t *testing.T) {
			j := planted.listen("log")
			_, _ = j.Write([]byte(strings.Repeat("nothing to see here\n", 100) + text + "\n"))
			defer func() { planted.journals = nil }()
			if len(planted.search(nil)) == 0 {
				t.Error("in a log it was not found")
			}
			planted.journals = nil
			if len(planted.search(map[string]string{"a condition": text})) == 0 {
				t.Error("in the cluster it was not found")
			}
		})
	}
	innocent := map[string]string{
		"fingerprints":   emulator.Fingerprint(key),
		"a redacted log": `{"level":"INFO","msg":"minted","token":"[redacted]"}`,
		"the log of one": strings.Repeat("reactor-operator rk_ eyJ bearer\n", 1000),
	}
	if leaks := planted.search(innocent); len(leaks) > 0 {
		t.Errorf("found where nothing is: %v", leaks)
	}
}

// A scan that nobody listens for finds nothing.
func TestWhatOperatorsSayIsHeardAndTheirSecretsAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	secret := w.waitUntilReady("web")
	w.settle(o)
	o.kill()
	for source, want := range map[string]string{
		"log of an operator":         `wrote a new token to Secret`,
		"metrics":                    `reactor_token_ready{name="web",namespace="` + w.namespace + `"} 1`,
		"requests to the API server": "/reactortokens/web/status",
	} {
		text := heard.from(source + " in " + t.Name())
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q was not heard", source, want)
		}
	}
	known := heard.needles()
	for what, text := range map[string]string{"the key": w.key, "the token": string(secret.Data["jwt"])} {
		if len(known.scan(what, text)) == 0 {
			t.Errorf("%s is not searched for", what)
		}
	}
}

// from returns what a source said.
func (h *hearing) from(source string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var text strings.Builder
	for _, j := range h.journals {
		if j.source == source {
			text.WriteString(j.String())
		}
	}
	return text.String()
}
