package integration

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// right is a verb on a kind of object, as Roles grant it: such as "update reactor.inc/reactortokens/status".
type right string

// rights are those that the operators of all tests have used, each with the test in which it was needed first. An operator that holds
// a right which no test needs holds too much; one that needs a right which it does not hold has failed its test.
var rights = usedRights{used: map[right]string{}}

type usedRights struct {
	mu   sync.Mutex
	used map[right]string
}

// roles grant what the operator may do.
var roles = []string{
	"rbac/role.yaml", "rbac/sessions_role.yaml", "rbac/leader_election_role.yaml",
	"components/restart/role.yaml", "components/prompt-delivery/role.yaml",
}

// use takes note of a request that was allowed.
func (u *usedRights) use(seen request, status int, test string) {
	if seen.resource == "" || status == http.StatusForbidden || status == http.StatusUnauthorized {
		return
	}
	name := rightOf(verbOf(seen), seen.group, strings.TrimSuffix(seen.resource+"/"+seen.subresource, "/"))
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used[name] == "" {
		u.used[name] = test
	}
}

func rightOf(verb, group, resource string) right {
	return right(verb + " " + strings.TrimPrefix(group+"/"+resource, "/"))
}

// verbOf is the verb that Kubernetes asks its authorizers for.
func verbOf(seen request) string {
	switch {
	case seen.method == http.MethodGet && seen.name != "":
		return "get"
	case seen.method == http.MethodGet && strings.Contains(seen.query, "watch="):
		return "watch"
	case seen.method == http.MethodGet:
		return "list"
	}
	return map[string]string{
		http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[seen.method]
}

// withoutATest are rights that the API server asks for in cases that no test makes happen.
var withoutATest = map[right]string{
	"list secrets": "client-go lists where the API server does not stream lists",
	"patch events": "client-go makes a series of an event of the election that is repeated",
}

// check objects to each right that the roles grant and no test needed.
func (u *usedRights) check() error {
	granted, err := grantedRights()
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var idle []error
	fmt.Println("what the operator may do, and the test that needed it first:")
	for _, name := range slices.Sorted(maps.Keys(granted)) {
		test := cmp.Or(u.used[name], withoutATest[name])
		if test == "" {
			idle = append(idle, fmt.Errorf("%s grants %q, and nothing has needed it: take it away, or show what it is for", granted[name], name))
			continue
		}
		fmt.Printf("  %-45s %s\n", name, test)
	}
	return errors.Join(idle...)
}

// grantedRights reads the roles. What they name singly is checked as if it were for all objects of the kind.
func grantedRights() (map[right]string, error) {
	granted := map[right]string{}
	for _, file := range roles {
		text, err := os.ReadFile(manifests + "/" + file)
		if err != nil {
			return nil, err
		}
		role := rbacv1.ClusterRole{}
		if err := yaml.Unmarshal(text, &role); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						granted[rightOf(verb, group, resource)] = file
					}
				}
			}
		}
	}
	return granted, nil
}
