// Package tokenserver serves the token route of Reactor's documentation: a web page requests a token, and never gets the API key.
//
// handler.go lists the checks of a request, in their order: the origin of the page, the identity of the caller (package authn), the limit of the caller,
// and the limit of all callers. The token then comes from one of two sources: a separate token for each caller (minted.go), or the token of a
// ReactorToken's Secret, which all callers share (mounted.go). Both return only tokens that are valid for at least --min-remaining-lifetime.
//
// All limits apply to one process: two replicas allow twice as much.
package tokenserver
