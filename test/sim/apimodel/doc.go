// Package apimodel is a small model of the Kubernetes API server, in memory, for simulations of the operator: it opens no sockets, and
// works in the virtual time of a testing/synctest bubble. controller-runtime's fake client keeps no generations, UIDs, creation times,
// preconditions and garbage; the model does, and conformance_test.go holds it to a real API server, which plays the same operations.
//
// It serves Secrets, Pods, Deployments, StatefulSets, DaemonSets, ReactorTokens and ReactorSessions, to clients (Server.Client) and informers
// (Server.ListerWatcher), and passes every request through a hook (Server.SetHook), which can be slow, fail it, or lose its answer. What the
// model does not do, it refuses with an error that says so.
//
// Each rule stands in the file that is named after it: who owns which field in managers.go, what an update may change in write.go and in
// the files of the kinds, deletion in delete.go and garbage.go, and what informers see in watch.go. The comments name the files of
// Kubernetes that they were read in.
//
// # What is different from a real API server
//
//   - An object is validated as far as its metadata goes, and what may change of it. Neither the CEL rules and schemas of the CRDs nor the
//     contents of pods, Deployments and Secrets are checked: the operator is to write valid objects, and tests in test/integration see to it.
//   - There are no namespaces: every one exists, and none is ever deleted.
//   - Everybody may do everything, and no admission plugin refuses anything. Of those that change pods, ServiceAccount,
//     DefaultTolerationSeconds and Priority are there; but no token of the service account is mounted.
//   - Pods and pod templates get the defaults that common pods need; those of less common volumes, of lifecycle hooks and of pod-level
//     resources are left out. Of a pod with scheduling gates, the node selector may change, and not the affinity.
//   - A list goes on with its next page as things are by then, not as they were at the first page. Reads and lists at a resourceVersion, and
//     streamed lists (WatchList), are refused; informers are told so.
//   - A watch sends no bookmarks, and does not end by itself after some minutes. Its history is forgotten by the number of events.
//   - The end of a generated name is the begin of the UID, not a draw of its own.
//   - The times of managed fields are those of package time.
//   - A custom resource is kept as its Go type. An apply that takes the last member out of a struct or a map leaves null there. The schema of a
//     CRD refuses it where the struct is required to be one; as the annotations it is stored, and the next write that changes nothing then
//     changes that, and has a resourceVersion of its own. In the model nothing is left.
//   - The garbage collector works when it is told to, in one order, and does not resolve circles of owners. The real one has workers that
//     race: whether a dependent that does not block its owner's deletion is deleted before the owner or after it is chance there. Nor does the real
//     one notice at once when an object gets an owner that is being deleted in the foreground already.
package apimodel
