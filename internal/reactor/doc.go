// Package reactor is the client of Reactor's API: it exchanges a long-lived API key for a short-lived token.
//
// It knows nothing of Kubernetes, keeps no state between calls and never tries twice: who calls it decides when to come
// back, and the Class of an Error says what that decision depends on. Keys and tokens are of type Secret, which prints
// [redacted] whatever it is printed with; texts that come from outside pass Redact before they stand in an error.
package reactor
