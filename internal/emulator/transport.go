package emulator

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Transport returns a transport that hands requests to the emulator in memory, whatever their host. There are no sockets,
// so that it works inside testing/synctest; as with sockets, the context ends a call, a hang lasts until then, and a
// cut connection is an error in the middle of the body.
func (e *Emulator) Transport() http.RoundTripper { return transport{handler: e} }

type transport struct{ handler http.Handler }

// outcome is what a handler wrote until it returned or ended the connection.
type outcome struct {
	written  recorder
	cut      bool
	crashing any // a panic that is not meant to end a connection
}

// RoundTrip serves one request. The handler runs on its own goroutine, because the client may leave before it.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := drain(request)
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
	outcomes := make(chan outcome, 1)
	go func() { outcomes <- t.serve(served(request, body)) }()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-outcomes:
		return result.response(request)
	}
}

// drain reads and closes the request's body, as the contract of http.RoundTripper has it.
func drain(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, request.Context().Err()
	}
	defer func() { _ = request.Body.Close() }()
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return io.ReadAll(request.Body)
}

// served returns the request as a server sees it.
func served(request *http.Request, body []byte) *http.Request {
	incoming := request.Clone(request.Context())
	incoming.Body = io.NopCloser(bytes.NewReader(body))
	incoming.ContentLength = int64(len(body))
	incoming.RequestURI = request.URL.RequestURI()
	incoming.RemoteAddr = "memory:0"
	incoming.Proto, incoming.ProtoMajor, incoming.ProtoMinor = "HTTP/1.1", 1, 1
	if incoming.Host == "" {
		incoming.Host = request.URL.Host
	}
	for _, values := range incoming.Header {
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
	}
	return incoming
}

// serve runs the handler.
func (t transport) serve(request *http.Request) (result outcome) {
	result.written.header = http.Header{}
	defer func() {
		switch reason := recover(); reason {
		case nil:
		case http.ErrAbortHandler:
			result.cut = true
		default:
			result.crashing = reason
		}
	}()
	t.handler.ServeHTTP(&result.written, request)
	result.written.WriteHeader(http.StatusOK)
	return result
}

// response returns what the client sees.
func (o outcome) response(request *http.Request) (*http.Response, error) {
	if o.crashing != nil {
		panic(o.crashing)
	}
	if o.written.status == 0 {
		return nil, io.EOF
	}
	response := &http.Response{
		Status:     fmt.Sprintf("%d %s", o.written.status, http.StatusText(o.written.status)),
		StatusCode: o.written.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        o.written.sent,
		ContentLength: int64(o.written.body.Len()),
		Request:       request,
	}
	body := &memoryBody{ctx: request.Context(), Reader: &o.written.body, end: io.EOF}
	if o.cut {
		response.ContentLength, body.end = -1, io.ErrUnexpectedEOF
	}
	response.Body = body
	return response, nil
}

// memoryBody is an answer's body, which fails once the request's context has ended and which may end in a cut.
type memoryBody struct {
	io.Reader
	ctx context.Context
	end error
}

// Read returns the next part, or why there is none.
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

// Close does nothing: nothing is held.
func (b *memoryBody) Close() error { return nil }

// recorder is an http.ResponseWriter in memory.
type recorder struct {
	header http.Header
	sent   http.Header // what header was when the status was written, without the names that were nil
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

// Flush does nothing: the client sees everything when the handler ends.
func (r *recorder) Flush() {}
