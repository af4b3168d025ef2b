package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// addControlRoutes adds the control endpoint, which the package's documentation describes.
func (e *Emulator) addControlRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /_emulator/healthz", func(w http.ResponseWriter, _ *http.Request) {
		replyOK(map[string]string{"status": "ok"}).write(w, e.Now())
	})
	mux.HandleFunc("GET /_emulator/ledger", func(w http.ResponseWriter, _ *http.Request) { replyOK(e.Ledger()).write(w, e.Now()) })
	mux.HandleFunc("DELETE /_emulator/faults", func(w http.ResponseWriter, _ *http.Request) {
		e.ClearFaults()
		noContent.write(w, e.Now())
	})
	mux.HandleFunc("PUT /_emulator/faults", withBody(e, e.putFaults))
	mux.HandleFunc("POST /_emulator/keys", withBody(e, e.postKey))
	mux.HandleFunc("DELETE /_emulator/keys", withBody(e, e.deleteKey))
	mux.HandleFunc("PUT /_emulator/lifetimes", withBody(e, e.putLifetimes))
	mux.HandleFunc("PUT /_emulator/clock", withBody(e, e.putClock))
	mux.HandleFunc("PUT /_emulator/revocation", withBody(e, e.putRevocation))
	mux.HandleFunc("PUT /_emulator/quotas", withBody(e, e.putQuotas))
	mux.HandleFunc("PUT /_emulator/session-times", withBody(e, e.putSessionTimes))
	for pattern, change := range map[string]func(string) bool{
		"POST /_emulator/sessions/{id}/drop": e.Drop,
		"POST /_emulator/sessions/{id}/end":  e.EndSession,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer := noContent
			if !change(r.PathValue("id")) {
				answer = notFound("there is no such session, or nothing of it is left to end")
			}
			answer.write(w, e.Now())
		})
	}
}

// withBody decodes the body, which is one JSON object without unknown fields, and passes it to the handler. An error of the handler means that
// the body is not valid.
func withBody[T any](e *Emulator, handle func(T) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		decoder.DisallowUnknownFields()
		var body T
		var answer reply
		err := decoder.Decode(&body)
		if err != nil {
			err = fmt.Errorf("the body is not what is expected here: %w", err)
		} else if _, end := decoder.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the JSON object")
		} else {
			answer, err = handle(body)
		}
		if err != nil {
			answer = badRequest(err.Error())
		}
		answer.write(w, e.Now())
	}
}

// interval is a duration in JSON, written as in Go: 90s.
type interval time.Duration

// UnmarshalText reads the form that time.ParseDuration reads.
func (i *interval) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*i = interval(parsed)
	return err
}

// faultJSON is a Fault on the control endpoint.
type faultJSON struct {
	Route            string    `json:"route"`
	Key              string    `json:"key"`
	Model            string    `json:"model"`
	Times            int       `json:"times"`
	Latency          interval  `json:"latency"`
	Hang             bool      `json:"hang"`
	Cut              bool      `json:"cut"`
	Status           int       `json:"status"`
	Body             *string   `json:"body"`
	Page             Page      `json:"page"`
	Refusal          Refusal   `json:"refusal"`
	PadTo            int       `json:"pad_to"`
	RedirectTo       string    `json:"redirect_to"`
	RetryAfter       interval  `json:"retry_after"`
	RetryAfterAsDate bool      `json:"retry_after_as_date"`
	OmitJWT          bool      `json:"omit_jwt"`
	OmitExpiresAt    bool      `json:"omit_expires_at"`
	ExpiresIn        *interval `json:"expires_in"`
	DateSkew         interval  `json:"date_skew"`
	OmitDate         bool      `json:"omit_date"`
}

func (f faultJSON) fault() Fault {
	return Fault{
		Route: f.Route, Key: f.Key, Model: f.Model, Times: f.Times,
		Latency: time.Duration(f.Latency), Hang: f.Hang, Cut: f.Cut,
		Status: f.Status, Body: f.Body, Page: f.Page, Refusal: f.Refusal, PadTo: f.PadTo, RedirectTo: f.RedirectTo,
		RetryAfter: time.Duration(f.RetryAfter), RetryAfterAsDate: f.RetryAfterAsDate,
		OmitJWT: f.OmitJWT, OmitExpiresAt: f.OmitExpiresAt, ExpiresIn: (*time.Duration)(f.ExpiresIn),
		DateSkew: time.Duration(f.DateSkew), OmitDate: f.OmitDate,
	}
}

func (e *Emulator) putFaults(body struct {
	Faults []faultJSON `json:"faults"`
}) (reply, error) {
	var faults []Fault
	for i, decoded := range body.Faults {
		fault := decoded.fault()
		if err := fault.Validate(); err != nil {
			return reply{}, fmt.Errorf("fault %d: %w", i+1, err)
		}
		faults = append(faults, fault)
	}
	e.SetFaults(faults...)
	return noContent, nil
}

func (e *Emulator) postKey(body struct {
	Key string `json:"key"`
}) (reply, error) {
	if body.Key == "" {
		return reply{}, errors.New("key must not be empty")
	}
	return replyOK(map[string]string{"fingerprint": e.AddKey(body.Key)}), nil
}

func (e *Emulator) deleteKey(body struct {
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
}) (reply, error) {
	if (body.Key == "") == (body.Fingerprint == "") {
		return reply{}, errors.New("give either key or fingerprint")
	}
	if !e.revokeFingerprint(body.Fingerprint + Fingerprint(body.Key)) {
		return notFound("the key is not known"), nil
	}
	return noContent, nil
}

func (e *Emulator) putLifetimes(body struct {
	Default interval `json:"default"`
	Ceiling interval `json:"ceiling"`
}) (reply, error) {
	for _, lifetime := range []interval{body.Default, body.Ceiling} {
		if lifetime != 0 && lifetime < interval(time.Second) {
			return reply{}, errors.New("default and ceiling must be 0 or at least 1s")
		}
	}
	e.SetLifetimes(time.Duration(body.Default), time.Duration(body.Ceiling))
	return noContent, nil
}

func (e *Emulator) putRevocation(body struct {
	Delay        interval `json:"delay"`
	RefuseTokens bool     `json:"refuse_tokens"`
}) (reply, error) {
	revocation := Revocation{Delay: time.Duration(body.Delay), RefuseTokens: body.RefuseTokens}
	if err := revocation.Validate(); err != nil {
		return reply{}, err
	}
	e.SetRevocation(revocation)
	return noContent, nil
}

func (e *Emulator) putQuotas(body struct {
	Concurrent         int `json:"concurrent"`
	ConcurrentPerModel int `json:"concurrent_per_model"`
	StartsPerMinute    int `json:"starts_per_minute"`
	StartBurst         int `json:"start_burst"`
}) (reply, error) {
	if min(body.Concurrent, body.ConcurrentPerModel, body.StartsPerMinute, body.StartBurst) < 0 {
		return reply{}, errors.New("quotas must not be negative; 0 sets no limit")
	}
	e.SetQuotas(Quotas(body))
	return noContent, nil
}

func (e *Emulator) putSessionTimes(body struct {
	ReadyAfter      interval `json:"ready_after"`
	ReconnectWindow interval `json:"reconnect_window"`
	CloseAfter      interval `json:"close_after"`
}) (reply, error) {
	if min(body.ReadyAfter, body.ReconnectWindow, body.CloseAfter) < 0 {
		return reply{}, errors.New("ready_after, reconnect_window and close_after must not be negative")
	}
	e.SetSessionTimes(time.Duration(body.ReadyAfter), time.Duration(body.ReconnectWindow), time.Duration(body.CloseAfter))
	return noContent, nil
}

func (e *Emulator) putClock(body struct {
	Offset interval `json:"offset"`
}) (reply, error) {
	e.SetDateSkew(time.Duration(body.Offset))
	return noContent, nil
}
