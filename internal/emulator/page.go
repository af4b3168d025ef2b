package emulator

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Page names a response that does not come from Reactor, but from a proxy or a CDN in front of it. None is a JSON object with a
// string in error, as Reactor's own errors are. Each has a header Server, which Reactor's responses do not have.
type Page string

// The pages. Those of a CDN follow developers.cloudflare.com (changelog of 2026-03-11 and 2026-03-12), those of a proxy follow nginx.
const (
	PageForbiddenHTML    Page = "403-html"
	PageForbiddenText    Page = "403-text" // error code: 1010
	PageForbiddenJSON    Page = "403-json" // RFC 9457
	PageLimitedJSON      Page = "429-json" // RFC 9457, Retry-After: 30
	PageBadGatewayHTML   Page = "502-html"
	PageOKHTML           Page = "200-html"
	PageNotFoundHTML     Page = "404-html"
	PageNotAllowedHTML   Page = "405-html"
	PageMaintenanceFound Page = "302" // to https://maintenance.example/
)

// The servers that the pages name.
const (
	cdnServer   = "cloudflare"
	proxyServer = "nginx"
)

// pages are the responses.
var pages = map[Page]reply{
	PageForbiddenHTML: htmlPage(http.StatusForbidden, cdnServer, "Attention Required!", "You have been blocked."),
	PageForbiddenText: newPage(http.StatusForbidden, cdnServer, "text/plain; charset=utf-8", []byte("error code: 1010")),
	PageForbiddenJSON: problemPage(http.StatusForbidden, "Error 1010: Access denied", "The site owner has blocked access based on the client's signature."),
	PageLimitedJSON: withHeader("Retry-After", "30",
		problemPage(http.StatusTooManyRequests, "Error 1015: You are being rate limited", "The site owner has limited the rate of requests.")),
	PageBadGatewayHTML: htmlPage(http.StatusBadGateway, proxyServer, "502 Bad Gateway", "502 Bad Gateway"),
	PageOKHTML:         htmlPage(http.StatusOK, proxyServer, "Maintenance", "We will be back soon."),
	PageNotFoundHTML:   htmlPage(http.StatusNotFound, proxyServer, "404 Not Found", "404 Not Found"),
	PageNotAllowedHTML: htmlPage(http.StatusMethodNotAllowed, proxyServer, "405 Not Allowed", "405 Not Allowed"),
	PageMaintenanceFound: withHeader("Location", "https://maintenance.example/",
		htmlPage(http.StatusFound, proxyServer, "302 Found", "302 Found")),
}

// Pages returns all pages, sorted by name.
func Pages() []Page { return slices.Sorted(maps.Keys(pages)) }

func newPage(status int, server, contentType string, body []byte) reply {
	return reply{status: status, header: http.Header{"Server": {server}, "Content-Type": {contentType}}, body: body}
}

func htmlPage(status int, server, title, heading string) reply {
	return newPage(status, server, "text/html; charset=utf-8",
		fmt.Appendf(nil, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n", title, heading))
}

// problemPage is an error in the form of RFC 9457, as a CDN sends it to a client that accepts JSON. Its Content-Type is the one of
// Reactor's responses, so that a client cannot pass a test by reading only that header.
func problemPage(status int, title, detail string) reply {
	return newPage(status, cdnServer, "application/json", encode(map[string]any{
		"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": "8a1b2c3d4e5f6071",
	}))
}

func withHeader(name, value string, page reply) reply {
	page.header.Set(name, value)
	return page
}
