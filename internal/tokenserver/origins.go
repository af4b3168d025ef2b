package tokenserver

import (
	"net/http"

	"github.com/rs/cors"
)

// origins decides which pages can request tokens: those of the server's own origin, and those of --allowed-origins.
type origins struct {
	protection *http.CrossOriginProtection
}

func newOrigins(allowed []string) (*origins, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range allowed {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return &origins{protection}, nil
}

// allows reports whether the page that sends the request is allowed. A program that is not a browser sends no origin and is allowed.
func (o *origins) allows(request *http.Request) bool {
	checked := *request
	checked.Method = http.MethodPost // the standard library allows every GET, but a GET returns a token too
	return o.protection.Check(&checked) == nil
}

// withCORS lets the pages of --allowed-origins read the responses.
func withCORS(allowed []string, next http.Handler) http.Handler {
	if len(allowed) == 0 {
		return next
	}
	const preflightSeconds = 600
	return cors.New(cors.Options{
		AllowedOrigins:   allowed,
		AllowedMethods:   []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:   []string{"Authorization", "Content-Type"},
		ExposedHeaders:   []string{"Retry-After"},
		AllowCredentials: true,
		MaxAge:           preflightSeconds,
	}).Handler(next)
}
