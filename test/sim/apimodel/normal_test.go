package apimodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
)

func asStatus(err error, status *apierrors.APIStatus) bool { return errors.As(err, status) }

// labeler gives what each server chooses for itself, UIDs and resourceVersions, names that are the same on both: those of the object, and
// a number in the order of their appearance.
type labeler struct {
	labels map[string]string
	counts map[string]int
}

func newLabeler() labeler { return labeler{labels: map[string]string{}, counts: map[string]int{}} }

func (l labeler) label(what, value string) string {
	if value == "" || value == "0" {
		return value
	}
	begin, _, _ := strings.Cut(what, " ")
	key := begin + " " + value
	if l.labels[key] == "" {
		l.counts[what]++
		l.labels[key] = fmt.Sprintf("%s #%d", what, l.counts[what])
	}
	return l.labels[key]
}

// known is the label of a UID that something refers to.
func (l labeler) known(uid string) string {
	if label := l.labels["uid "+uid]; label != "" {
		return label
	}
	return uid
}

// normal is an object, or a list, as it can be compared.
func (l labeler) normal(kind string, object runtime.Object) map[string]any {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	content := map[string]any{}
	if err := json.Unmarshal(text, &content); err != nil {
		panic(err)
	}
	delete(content, "apiVersion")
	delete(content, "kind")
	if items, isList := content["items"]; isList {
		items, _ := items.([]any) // none of a kind that is sent as protobuf, and an empty list of others
		content["items"] = len(items)
		if len(items) > 0 {
			content["items"] = items
		}
		for _, item := range items {
			l.object(kind, item.(map[string]any))
		}
		slices.SortStableFunc(items, func(a, b any) int { return strings.Compare(identityOf(a), identityOf(b)) })
		delete(content["metadata"].(map[string]any), "resourceVersion")
		if next, _ := content["metadata"].(map[string]any)["continue"].(string); next != "" {
			content["metadata"].(map[string]any)["continue"] = "more"
		}
		return content
	}
	l.object(kind, content)
	return content
}

var (
	timestamp     = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	generatedText = regexp.MustCompile(`^generated-[a-z0-9]{5}$`)
)

func (l labeler) object(kind string, content map[string]any) {
	delete(content, "apiVersion")
	delete(content, "kind")
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if generatedText.MatchString(name) {
		name = "generated-"
		metadata["name"] = name
	}
	for member, what := range map[string]string{"uid": "uid", "resourceVersion": "version"} {
		if value, ok := metadata[member].(string); ok {
			metadata[member] = l.label(what+" "+kind+"/"+name, value)
		}
	}
	if owners, ok := metadata["ownerReferences"].([]any); ok {
		for _, owner := range owners {
			reference := owner.(map[string]any)
			reference["uid"] = l.known(reference["uid"].(string))
		}
	}
	if entries, ok := metadata["managedFields"].([]any); ok {
		for _, entry := range entries {
			fields := entry.(map[string]any)["fieldsV1"]
			l.ownerKeys(fields)
		}
		slices.SortFunc(entries, func(a, b any) int { return strings.Compare(entryName(a), entryName(b)) })
	}
	withoutTimes(content)
}

// identityOf is by which the items of a list are in the same order on both sides: each generates names of its own.
func identityOf(item any) string {
	metadata := item.(map[string]any)["metadata"].(map[string]any)
	return fmt.Sprint(metadata["name"], " ", metadata["uid"])
}

func entryName(entry any) string {
	content := entry.(map[string]any)
	return fmt.Sprint(content["manager"], content["operation"], content["subresource"])
}

// ownerKeys labels the UIDs in the names of managed fields.
func (l labeler) ownerKeys(fields any) {
	content, ok := fields.(map[string]any)
	if !ok {
		return
	}
	for key, value := range content {
		l.ownerKeys(value)
		if uid, found := strings.CutPrefix(key, `k:{"uid":"`); found {
			delete(content, key)
			content[`k:{"uid":"`+l.known(strings.TrimSuffix(uid, `"}`))] = value
		}
	}
}

func withoutTimes(value any) {
	switch content := value.(type) {
	case map[string]any:
		for key, member := range content {
			if text, ok := member.(string); ok && timestamp.MatchString(text) {
				content[key] = "a time"
			} else {
				withoutTimes(member)
			}
		}
	case []any:
		for _, member := range content {
			withoutTimes(member)
		}
	}
}
