// Package inmemory sends requests to an http.Handler without sockets, so that a client and a server work inside testing/synctest. As with
// sockets, the context ends a call, a handler that hangs does so until then, and a connection that is cut is an error in the middle of the body.
package inmemory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// NewTransport returns a transport that sends every request to the handler, whatever its host is.
func NewTransport(handler http.Handler) http.RoundTripper { return transport{handler: handler} }

type transport struct{ handler http.Handler }

// result is what a handler has written when it returns or cuts the connection.
type result struct {
	written  recorder
	cut      bool
	panicked any // a panic other than http.ErrAbortHandler
}

// RoundTrip serves one request. The handler has its own goroutine, because the client may give up before the handler returns.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := readBody(request)
	if err != nil {
		return nil, err
	}
	for name, values := range request.Header {
		for _, value := range values {
			if strings.ContainsAny(value, "\r\n\x00") {
				return nil, fmt.Errorf("net/http: invalid header field value for %q", name)
			}
		}
	}
	ctx := request.Context()
	results := make(chan result, 1)
	go func() { results <- t.serve(incoming(request, body)) }()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case served := <-results:
		return served.response(request)
	}
}

// readBody reads and closes the request's body, as http.RoundTripper requires.
func readBody(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, request.Context().Err()
	}
	defer func() { _ = request.Body.Close() }()
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return io.ReadAll(request.Body)
}

// incoming returns the request in the form that a server receives.
func incoming(request *http.Request, body []byte) *http.Request {
	clone := request.Clone(request.Context())
	clone.Body = io.NopCloser(bytes.NewReader(body))
	clone.ContentLength = int64(len(body))
	clone.RequestURI = request.URL.RequestURI()
	clone.RemoteAddr = "memory:0"
	clone.Proto, clone.ProtoMajor, clone.ProtoMinor = "HTTP/1.1", 1, 1
	if clone.Host == "" {
		clone.Host = request.URL.Host
	}
	for _, values := range clone.Header {
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
	}
	return clone
}

// serve runs the handler.
func (t transport) serve(request *http.Request) (served result) {
	served.written.header = http.Header{}
	defer func() {
		switch reason := recover(); reason {
		case nil:
		case http.ErrAbortHandler:
			served.cut = true
		default:
			served.panicked = reason
		}
	}()
	t.handler.ServeHTTP(&served.written, request)
	served.written.WriteHeader(http.StatusOK)
	return served
}

// response returns what the client receives.
func (r result) response(request *http.Request) (*http.Response, error) {
	if r.panicked != nil {
		panic(r.panicked)
	}
	if r.written.status == 0 {
		return nil, io.EOF
	}
	response := &http.Response{
		Status:     fmt.Sprintf("%d %s", r.written.status, http.StatusText(r.written.status)),
		StatusCode: r.written.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        r.written.sent,
		ContentLength: int64(r.written.body.Len()),
		Request:       request,
	}
	body := &memoryBody{ctx: request.Context(), Reader: &r.written.body, end: io.EOF}
	if r.cut {
		response.ContentLength, body.end = -1, io.ErrUnexpectedEOF
	}
	response.Body = body
	return response, nil
}

// memoryBody is the body of a response. A read fails after the request's context has ended. A body that was cut ends with io.ErrUnexpectedEOF.
type memoryBody struct {
	io.Reader
	ctx context.Context
	end error
}

// Read implements io.Reader.
func (b *memoryBody) Read(into []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	count, err := b.Reader.Read(into)
	if err == io.EOF {
		err = b.end
	}
	return count, err
}

// Close implements io.Closer. There is nothing to close.
func (b *memoryBody) Close() error { return nil }

// recorder is an http.ResponseWriter in memory.
type recorder struct {
	header http.Header
	sent   http.Header // the header when the status was written, without names whose value is nil
	status int
	body   bytes.Buffer
}

// Header returns the header that will be sent.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader sends the status and the header, once.
func (r *recorder) WriteHeader(status int) {
	if r.status != 0 {
		return
	}
	r.status, r.sent = status, http.Header{}
	for name, values := range r.header {
		if len(values) > 0 {
			r.sent[name] = append([]string(nil), values...)
		}
	}
}

// Write adds to the body.
func (r *recorder) Write(part []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(part)
}

// Flush does nothing: the client receives the response when the handler returns.
func (r *recorder) Flush() {}
