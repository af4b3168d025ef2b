package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// etcd is the URL of etcd, whose API it also serves as JSON: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/.
type etcd string

// ballast is the key of what fills the disk: beside Kubernetes' own, which begin with /registry.
const ballast = "/chaos/ballast"

// block is written at once: less than the 1.5 MiB that etcd takes in a request.
const block = 1 << 20

// room is what is left of the disk when it is made small.
const room = 48 << 20

// noSpace is what etcd says, and kube-apiserver after it, when its disk is full: https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota.
const noSpace = "database space exceeded"

// status says how large the database is, and at which revision.
func (e etcd) status(ctx context.Context) (size int64, revision string, err error) {
	answer, err := ask(ctx, http.MethodPost, string(e)+"/v3/maintenance/status", "{}")
	if err != nil {
		return 0, "", err
	}
	// The gateway writes 64-bit numbers as text.
	var status struct {
		Header struct{ Revision string } `json:"header"`
		Size   string                    `json:"dbSize"`
	}
	if err := json.Unmarshal(answer, &status); err != nil {
		return 0, "", err
	}
	size, err = strconv.ParseInt(status.Size, 10, 64)
	return size, status.Header.Revision, err
}

// fill writes until nothing more can be written. What is not full after twice the room that there should be does not fill up.
func (e etcd) fill(ctx context.Context, room int) error {
	value := base64.StdEncoding.EncodeToString(make([]byte, block))
	body := fmt.Sprintf(`{"key":%q,"value":%q}`, base64.StdEncoding.EncodeToString([]byte(ballast)), value)
	for range 2 * room / block {
		_, err := ask(ctx, http.MethodPost, string(e)+"/v3/kv/put", body)
		if err != nil && strings.Contains(err.Error(), noSpace) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fill etcd's disk: %w", err)
		}
	}
	return fmt.Errorf("etcd took %d MiB, and its disk is not full", 2*room/block)
}

// mend does what etcd's documentation says about a full disk: what is not needed goes, also its history; the file is made small, and the
// alarm is taken back.
func (e etcd) mend(ctx context.Context) error {
	key := base64.StdEncoding.EncodeToString([]byte(ballast))
	if _, err := ask(ctx, http.MethodPost, string(e)+"/v3/kv/deleterange", fmt.Sprintf(`{"key":%q}`, key)); err != nil {
		return err
	}
	_, revision, err := e.status(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct{ path, body string }{
		{"/v3/kv/compaction", fmt.Sprintf(`{"revision":%q,"physical":true}`, revision)},
		{"/v3/maintenance/defragment", "{}"},
	} {
		if _, err := ask(ctx, http.MethodPost, string(e)+step.path, step.body); err != nil {
			return err
		}
	}
	return e.disarm(ctx)
}

// disarm takes all alarms back.
func (e etcd) disarm(ctx context.Context) error {
	const path = "/v3/maintenance/alarm"
	answer, err := ask(ctx, http.MethodPost, string(e)+path, `{"action":"GET"}`)
	if err != nil {
		return err
	}
	var raised struct {
		Alarms []struct{ MemberID, Alarm string }
	}
	if err := json.Unmarshal(answer, &raised); err != nil {
		return err
	}
	if len(raised.Alarms) == 0 {
		return errors.New("etcd has raised no alarm, so its disk was not full")
	}
	for _, alarm := range raised.Alarms {
		body := fmt.Sprintf(`{"action":"DEACTIVATE","memberID":%q,"alarm":%q}`, alarm.MemberID, alarm.Alarm)
		if _, err := ask(ctx, http.MethodPost, string(e)+path, body); err != nil {
			return err
		}
	}
	return nil
}
