// Package reactor is the client of Reactor's API: it exchanges a long-lived API key for a short-lived token, and looks up and ends sessions.
//
// It knows nothing of Kubernetes, and keeps no state between calls except its connections. It does not retry: the caller decides when to
// call again, and the Class of an Error is the basis of that decision. Keys and tokens have the type Secret, which prints as [redacted].
// Texts from outside the process are redacted before they become part of an error.
package reactor
