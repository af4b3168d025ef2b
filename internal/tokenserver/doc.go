// Package tokenserver is the server-side token route of Reactor's documentation: a page asks it for a token, and never sees the API key.
//
// A request passes the checks of handler.go, in their order: how much is asked in all, from which origin, by whom, and how often by one
// caller. What it gets comes from one of two sources: a token of the caller's own (minted.go), or the one token of a ReactorToken's Secret
// that all callers share (mounted.go). No token is handed out that has less left than a session needs.
//
// All limits are those of one process: two replicas let twice as much through.
package tokenserver
