package emulator

import (
	"net/http"
	"strings"

	"github.com/rs/cors"
)

// sessionHandlers answer the requests about a session that was started, by the pattern of the route. A Fault names the same patterns.
var sessionHandlers = map[string]func(sessionRequest, *session) reply{
	"GET /sessions/{id}":      showSession,
	"DELETE /sessions/{id}":   deleteSession,
	"GET /sessions/{id}/info": showInfo,

	// The JavaScript SDK up to 2.11 negotiates one connection without a number. Later versions, and Python, number the connections.
	"GET /sessions/{id}/transport/webrtc/ice_servers":                       ifRunning(listICEServers),
	"POST /sessions/{id}/transport/webrtc/sdp_params":                       ifRunning(takeFirstOffer),
	"PUT /sessions/{id}/transport/webrtc/sdp_params":                        ifRunning(takeOffer),
	"GET /sessions/{id}/transport/webrtc/sdp_params":                        ifRunning(showAnswer),
	"POST /sessions/{id}/transport/webrtc/ice_candidates":                   ifRunning(takeCandidates),
	"POST /sessions/{id}/transport/webrtc/connections":                      ifRunning(openConnection),
	"POST /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":     ifRunning(ifConnected(takeOffer)),
	"PUT /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":      ifRunning(ifConnected(takeOffer)),
	"GET /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":      ifRunning(ifConnected(showAnswer)),
	"POST /sessions/{id}/transport/webrtc/connections/{cid}/ice_candidates": ifRunning(ifConnected(takeCandidates)),
}

// routes returns the handler of all requests.
func (e *Emulator) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(tokensRoute, e.serveTokens)
	mux.HandleFunc("/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		replyError(http.StatusMethodNotAllowed, "method_not_allowed", "use POST").write(w, e.Now())
	})
	mux.HandleFunc(startRoute, e.serveSession(startRoute, e.startSession))
	for pattern, handle := range sessionHandlers {
		mux.HandleFunc(pattern, e.serveSession(pattern, e.onSession(handle)))
	}
	e.addControlRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { notFound("there is nothing here").write(w, e.Now()) })
	return withCORS(mux)
}

// withCORS lets pages of every site use the session API, as Reactor does: such pages have tokens. The other routes are for servers and tests.
func withCORS(handler http.Handler) http.Handler {
	allowed := cors.New(cors.Options{
		AllowedOrigins: []string{"*"},
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Reactor-API-Version", "Reactor-API-Accept-Version", "Reactor-WebRTC-Version"},
	}).Handler(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sessions" || strings.HasPrefix(r.URL.Path, "/sessions/") {
			allowed.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}
