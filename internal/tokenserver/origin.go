package tokenserver

import (
	"net/http"

	"github.com/rs/cors"
)

// origins decides which pages may ask: those of the server's own origin, and those of an exact list.
type origins struct {
	own *http.CrossOriginProtection
}

func newOrigins(allowed []string) (*origins, error) {
	own := http.NewCrossOriginProtection()
	for _, origin := range allowed {
		if err := own.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return &origins{own}, nil
}

// allows reports whether the page that asks may do so. A program that is no browser sends no origin, and is let through.
func (o *origins) allows(request *http.Request) bool {
	asked := *request
	asked.Method = http.MethodPost // a token is no less for a GET, which the standard library lets through
	return o.own.Check(&asked) == nil
}

// shared lets the pages of the list read the answers.
func shared(allowed []string, next http.Handler) http.Handler {
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
