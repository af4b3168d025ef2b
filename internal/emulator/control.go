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
	for pattern, handle := range map[string]func(*json.Decoder) (reply, error){
		"PUT /_emulator/faults":        e.putFaults,
		"POST /_emulator/keys":         e.postKey,
		"DELETE /_emulator/keys":       e.deleteKey,
		"PUT /_emulator/lifetimes":     e.putLifetimes,
		"PUT /_emulator/clock":         e.putClock,
		"PUT /_emulator/revocation":    e.putRevocation,
		"PUT /_emulator/quotas":        e.putQuotas,
		"PUT /_emulator/session-times": e.putSessionTimes,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { e.serveControl(w, r, handle) })
	}
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

// serveControl passes the body to the handler and writes its reply. An error means that the request is not valid.
func (e *Emulator) serveControl(w http.ResponseWriter, r *http.Request, handle func(*json.Decoder) (reply, error)) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	decoder.DisallowUnknownFields()
	answer, err := handle(decoder)
	if err != nil {
		answer = badRequest(err.Error())
	}
	answer.write(w, e.Now())
}

// decode reads a body that has one JSON value.
func decode(decoder *json.Decoder, into any) error {
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("the body is not what is expected here: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
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

func (e *Emulator) putFaults(decoder *json.Decoder) (reply, error) {
	var body struct {
		Faults []faultJSON `json:"faults"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
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

func (e *Emulator) postKey(decoder *json.Decoder) (reply, error) {
	var body struct {
		Key string `json:"key"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	if body.Key == "" {
		return reply{}, errors.New("key must not be empty")
	}
	return replyOK(map[string]string{"fingerprint": e.AddKey(body.Key)}), nil
}

func (e *Emulator) deleteKey(decoder *json.Decoder) (reply, error) {
	var body struct {
		Key         string `json:"key"`
		Fingerprint string `json:"fingerprint"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	if (body.Key == "") == (body.Fingerprint == "") {
		return reply{}, errors.New("give either key or fingerprint")
	}
	if !e.revokeFingerprint(body.Fingerprint + Fingerprint(body.Key)) {
		return notFound("the key is not known"), nil
	}
	return noContent, nil
}

func (e *Emulator) putLifetimes(decoder *json.Decoder) (reply, error) {
	var body struct {
		Default interval `json:"default"`
		Ceiling interval `json:"ceiling"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	for _, lifetime := range []interval{body.Default, body.Ceiling} {
		if lifetime != 0 && lifetime < interval(time.Second) {
			return reply{}, errors.New("default and ceiling must be 0 or at least 1s")
		}
	}
	e.SetLifetimes(time.Duration(body.Default), time.Duration(body.Ceiling))
	return noContent, nil
}

func (e *Emulator) putRevocation(decoder *json.Decoder) (reply, error) {
	var body struct {
		Delay        interval `json:"delay"`
		RefuseTokens bool     `json:"refuse_tokens"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	revocation := Revocation{Delay: time.Duration(body.Delay), RefuseTokens: body.RefuseTokens}
	if err := revocation.Validate(); err != nil {
		return reply{}, err
	}
	e.SetRevocation(revocation)
	return noContent, nil
}

func (e *Emulator) putQuotas(decoder *json.Decoder) (reply, error) {
	var body struct {
		Concurrent         int `json:"concurrent"`
		ConcurrentPerModel int `json:"concurrent_per_model"`
		StartsPerMinute    int `json:"starts_per_minute"`
		StartBurst         int `json:"start_burst"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	if min(body.Concurrent, body.ConcurrentPerModel, body.StartsPerMinute, body.StartBurst) < 0 {
		return reply{}, errors.New("quotas must not be negative; 0 sets no limit")
	}
	e.SetQuotas(Quotas(body))
	return noContent, nil
}

func (e *Emulator) putSessionTimes(decoder *json.Decoder) (reply, error) {
	var body struct {
		ReadyAfter      interval `json:"ready_after"`
		ReconnectWindow interval `json:"reconnect_window"`
		CloseAfter      interval `json:"close_after"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	if min(body.ReadyAfter, body.ReconnectWindow, body.CloseAfter) < 0 {
		return reply{}, errors.New("ready_after, reconnect_window and close_after must not be negative")
	}
	e.SetSessionTimes(time.Duration(body.ReadyAfter), time.Duration(body.ReconnectWindow), time.Duration(body.CloseAfter))
	return noContent, nil
}

func (e *Emulator) putClock(decoder *json.Decoder) (reply, error) {
	var body struct {
		Offset interval `json:"offset"`
	}
	if err := decode(decoder, &body); err != nil {
		return reply{}, err
	}
	e.SetDateSkew(time.Duration(body.Offset))
	return noContent, nil
}
