// Package emulator is a local Reactor API for tests and demonstrations: an http.Handler with a clock, faults and a ledger
// of all calls. It is the only fake of Reactor in this repository. A contract test runs one table against it and against
// the real service.
//
// Its layers, from top to bottom: routes.go lists the routes. tokens.go, sessions.go, signaling.go and control.go handle the requests.
// emulator.go has the state and its settings. The rules below it are values that know nothing of the Emulator: faults, keys, quotas and refusals,
// the life of a session, and package grant, which answers what a token allows. Package inmemory is a transport without sockets.
//
// # What it does
//
// POST /tokens exchanges an API key (header Reactor-API-Key) for a signed JWT and its expiry:
//
//	{"jwt":"eyJ…","expires_at":1795400000}
//
// The body can be missing, null, or an object with expires_after (whole seconds; shortened to the ceiling without an
// error) and authorization_details. Without expires_after, the lifetime is 1 hour for a token with a scope, and 6 hours for one without. The status
// is 400 for a body that is not valid, 401 for an unknown key, and 403 for a token that should be bound to a session that does
// not exist, is over, or has another model.
//
// Every error of Reactor is a JSON object with a string in error, and has no header Server:
//
//	{"error":"invalid_api_key","message":"the API key is missing or not known"}
//
// This distinguishes Reactor's errors from those of a proxy in front of it, which a Fault with Page makes. Users of /sessions captured this form.
// Reactor does not document any form, and no error of /tokens was captured.
//
// Several keys may be valid at the same time, as in a rotation. A revocation takes effect immediately, or up to a minute later as
// Reactor's may (see Revocation). Reactor does not document whether the tokens of a revoked key stay valid. Here they do, unless
// Revocation.RefuseTokens is set.
//
// POST /sessions starts a session with a token (Authorization: Bearer eyJ…). The response has the form that the JavaScript SDK 2.9.0 needs:
//
//	{"session_id":"3b1c…","state":"CREATED","cluster":"emulator-1","model":{"name":"reactor/helios"},
//	 "server_info":{"server_version":"emulator-1.0.0"}}
//
// GET /sessions/{id} shows it; when it is ready, the response has selected_transport and capabilities too. DELETE returns 200, and the
// session is CLOSED 0.7 seconds later, as users of Reactor measured; until then it is open. DELETE returns 404 if the session is over already.
// A token with a scope can start sessions of its models: at most max_sessions in its whole lifetime (by default 5, or the number of sessions that
// it is bound to). It can be used for the sessions that it started or is bound to; everything else is 403. A session ends by DELETE, after
// max_session_duration_seconds, or when its connection dropped and no client reconnected in time. It is billed, idle
// or not, from the time when it is ready until it ends. Beyond the account's quotas, POST /sessions returns 429. Only the quota of a rate has a wait,
// in the body and in Retry-After:
//
//	{"error":"quota_exceeded","message":"quota exceeded: sessions_per_minute","quota_type":"sessions_per_minute",
//	 "limit":10,"current":10,"retry_after_seconds":6}
//
// Connections are negotiated in the form of the JavaScript SDK up to 2.11, and in the form of later versions and of Python: the emulator accepts an
// offer with 202, and polls for the answer get 202 until there is one. Without Media (see Options) there never is one; test/infra/media has some.
//
// Pages of every site can use the session API (CORS), but no other route.
//
// # The control endpoint
//
// Tests in the same process use the methods of Emulator. Other programs use HTTP and JSON; unknown fields are an error, durations
// have the form of Go (90s, 1h30m), and keys in the ledger are fingerprints (see Fingerprint). Every client that can reach the control endpoint
// can add API keys, so let the emulator listen on a loopback address, or in a separate network. If other clients must reach the API,
// as in a cluster, --control-listen of cmd/reactor-emulator serves the control endpoint, except healthz, at a separate address.
//
//	GET    /_emulator/healthz    {"status":"ok"}
//	GET    /_emulator/ledger     {"mints":1,"mints_by_key":{"5e88…":1},"calls":[{"time":"…","key":"5e88…","status":200,
//	                             "requested_seconds":3600,"granted_seconds":3600,"models":["reactor/helios"],"jti":"…"}],
//	                             "open_sessions":1,"most_open_sessions":1,"billed_seconds":12.5,"sessions":[{"id":"3b1c…",
//	                             "key":"5e88…","jti":"…","model":"reactor/helios","state":"ACTIVE","created":"…",
//	                             "billed_seconds":12.5}],"session_calls":[{"time":"…","route":"POST /sessions","status":201,
//	                             "session":"3b1c…","model":"reactor/helios","jti":"…","key":"5e88…"}]}
//	PUT    /_emulator/faults     {"faults":[{"times":2,"status":503,"retry_after":"30s"}]}    → 204, replaces all
//	DELETE /_emulator/faults     → 204
//	POST   /_emulator/keys       {"key":"rk_…"}    → {"fingerprint":"5e88…"}
//	DELETE /_emulator/keys       {"key":"rk_…"} or {"fingerprint":"5e88…"}    → 204, or 404
//	PUT    /_emulator/lifetimes  {"default":"6h","ceiling":"6h"}    → 204; 0s, or none, restores Reactor's own (see SetLifetimes)
//	PUT    /_emulator/revocation {"delay":"60s","refuse_tokens":true}    → 204; for the keys that are deleted later
//	PUT    /_emulator/clock      {"offset":"-90s"}    → 204, shifts Date, iat, exp and expires_at
//	PUT    /_emulator/quotas     {"concurrent":5,"concurrent_per_model":0,"starts_per_minute":10,"start_burst":3}    → 204; 0 sets no limit
//	PUT    /_emulator/session-times {"ready_after":"500ms","reconnect_window":"30s","close_after":"700ms"}    → 204
//	POST   /_emulator/sessions/{id}/drop   → 204, or 404; cuts its connection
//	POST   /_emulator/sessions/{id}/end    → 204, or 404; ends it from Reactor's side
//
// The fields of a fault are those of Fault: route (a pattern, such as "DELETE /sessions/{id}"), key, model, times; latency, hang, cut; status, body, pad_to, redirect_to, page;
// retry_after, retry_after_as_date; omit_jwt, omit_expires_at, expires_in; date_skew, omit_date; refusal. A status without a body is
// Reactor's own error. A page is the response of a proxy or a CDN: 200-html, 302, 403-html, 403-json, 403-text, 404-html, 405-html, 429-json or 502-html.
// A refusal is a response of Reactor to POST /sessions because of the account, the model or the token: credits_depleted or
// billing_not_setup (402), model_not_found (404), no_available_capacity, concurrent_sessions, concurrent_sessions_per_model,
// sessions_per_minute, connections_per_session or sessions_per_token (429).
//
// Tokens are never served over the control endpoint, and neither keys nor tokens are logged.
package emulator
