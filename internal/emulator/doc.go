// Package emulator is a local Reactor API for tests and demonstrations: an http.Handler with a clock, faults and a ledger
// of what it issued. It is the only fake of Reactor in this repository, and a contract test runs one table against it
// and against the real service.
//
// # What it does
//
// POST /tokens exchanges an API key (header Reactor-API-Key) for a signed JWT and its expiry:
//
//	{"jwt":"eyJ…","expires_at":1795400000}
//
// The body may be absent, null, or an object with expires_after (whole seconds; shortened to the ceiling without an
// error) and authorization_details. Answers are 400 for a body that breaks the rules, 401 for an unknown key, and 403
// for a token that is to be bound to a session, since there are none. Errors look like this:
//
//	{"error":"invalid_api_key","message":"the API key is not known"}
//
// # The control endpoint
//
// Tests in the same process use the methods of Emulator. Others use HTTP and JSON; unknown fields are refused, durations
// are written as in Go (90s, 1h30m), and keys of the ledger are fingerprints (see Fingerprint). Whoever can reach it
// can add API keys, so let the emulator listen on a loopback address, or in a network of its own.
//
//	GET    /_emulator/healthz    {"status":"ok"}
//	GET    /_emulator/ledger     {"mints":1,"mints_by_key":{"5e88…":1},"calls":[{"time":"…","key":"5e88…","status":200,
//	                             "requested_seconds":3600,"granted_seconds":3600,"models":["reactor/helios"],"jti":"…"}]}
//	PUT    /_emulator/faults     {"faults":[{"times":2,"status":503,"retry_after":"30s"}]}    → 204, replaces all
//	DELETE /_emulator/faults     → 204
//	POST   /_emulator/keys       {"key":"rk_…"}    → {"fingerprint":"5e88…"}
//	DELETE /_emulator/keys       {"key":"rk_…"} or {"fingerprint":"5e88…"}    → 204, or 404
//	PUT    /_emulator/lifetimes  {"default":"6h","ceiling":"6h"}    → 204
//	PUT    /_emulator/clock      {"offset":"-90s"}    → 204, shifts Date, iat, exp and expires_at
//
// The members of a fault are those of Fault: key, model, times; latency, hang, cut; status, body, pad_to, redirect_to;
// retry_after, retry_after_as_date; omit_jwt, omit_expires_at, expires_in; date_skew, omit_date.
//
// Tokens are never served over the control endpoint, and neither keys nor tokens are logged.
package emulator
