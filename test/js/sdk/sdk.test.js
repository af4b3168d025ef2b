// The real JavaScript SDK against the emulator, as far as it goes without WebRTC: if the emulator's answers were not those that
// the SDK needs, its users would find out later, and in their browsers.
//
// It starts the emulator that REACTOR_EMULATOR names: see make sdk.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { after, before, beforeEach, test } from "node:test";
import { Reactor } from "@reactor-team/js-sdk";

const KEY = "rk_sdk_test_0123456789";
const MODEL = "reactor/helios";

let emulator;
let api;

before(async () => {
  for (const method of ["debug", "log", "warn", "error"]) console[method] = () => {}; // the SDK tells each of its steps
  const program = process.env.REACTOR_EMULATOR;
  assert.ok(program, "REACTOR_EMULATOR must name the emulator's binary: run make sdk");
  emulator = spawn(program, ["--listen=127.0.0.1:0", `--key=${KEY}`, "--session-starts-per-minute=0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: emulator.stdout })) {
    const { msg, address } = JSON.parse(line);
    if (msg === "listening") {
      api = `http://${address}`;
      break;
    }
  }
  emulator.stdout.resume();
  // A session is closed immediately after its DELETE, so that a test can check that none is left.
  await control("PUT", "session-times", { ready_after: "500ms", reconnect_window: "30s", close_after: "0s" });
});

after(() => emulator.kill());

// Every test begins without faults, and without the sessions of an earlier one.
beforeEach(async () => {
  await control("DELETE", "faults");
  await control("PUT", "quotas", { concurrent: 5, starts_per_minute: 0, start_burst: 0 });
  for (const session of (await ledger()).sessions.filter(open)) await control("POST", `sessions/${session.id}/end`);
});

const open = (session) => session.state !== "CLOSED";

async function control(method, path, body) {
  const answer = await fetch(`${api}/_emulator/${path}`, { method, body: body && JSON.stringify(body) });
  assert.equal(answer.status, 204, await answer.text());
}

const ledger = async () => (await fetch(`${api}/_emulator/ledger`)).json();

// mint exchanges the key for a token that may start one session of the model, as a server does for a page.
async function mint() {
  const answer = await fetch(`${api}/tokens`, {
    method: "POST",
    headers: { "Reactor-API-Key": KEY },
    body: JSON.stringify({
      expires_after: 60,
      authorization_details: [{ type: "session", resources: { models: { match: [MODEL] } }, constraints: { max_sessions: 1, max_session_duration_seconds: 30 } }],
    }),
  });
  assert.equal(answer.status, 200);
  return (await answer.json()).jwt;
}

// connect has the SDK connect, and returns how that ended and what the emulator saw of it.
async function connect(jwt, options) {
  const seen = (await ledger()).session_calls.length;
  const reactor = new Reactor({ modelName: MODEL, apiUrl: api });
  const statuses = [];
  reactor.on("statusChanged", (status) => statuses.push(status));
  let failure;
  try {
    await reactor.connect(jwt, options);
  } catch (error) {
    failure = error.message;
  }
  const { session_calls: calls, open_sessions: left } = await ledger();
  return { failure, statuses, left, calls: calls.slice(seen).map((call) => `${call.route} ${call.status}`) };
}

test("the SDK creates a session, waits until it is ready, and ends it when there is no WebRTC", async () => {
  const { failure, statuses, left, calls } = await connect(await mint());
  assert.match(failure, /RTCPeerConnection is not defined/);
  assert.deepEqual(statuses, ["connecting", "waiting", "disconnected"]);
  assert.deepEqual([...new Set(calls)], [
    "POST /sessions 201",
    "GET /sessions/{id} 200",
    "GET /sessions/{id}/transport/webrtc/ice_servers 200",
    "DELETE /sessions/{id} 200",
  ]);
  assert.ok(calls.filter((call) => call === "GET /sessions/{id} 200").length > 1, "the session was not ready at once, and the SDK polled");
  assert.equal(left, 0);
});

test("the SDK sends an offer, polls for its answer, and ends the session when none comes", async () => {
  globalThis.RTCPeerConnection = PeerConnection;
  try {
    const { left, calls } = await connect(await mint(), { maxAttempts: 2 });
    assert.deepEqual([...new Set(calls)].slice(-4), [
      "GET /sessions/{id}/transport/webrtc/ice_servers 200",
      "POST /sessions/{id}/transport/webrtc/sdp_params 202",
      "GET /sessions/{id}/transport/webrtc/sdp_params 202",
      "DELETE /sessions/{id} 200",
    ]);
    assert.equal(left, 0);
  } finally {
    delete globalThis.RTCPeerConnection;
  }
});

// PeerConnection is what a browser would bring, up to a complete offer.
class PeerConnection extends EventTarget {
  iceGatheringState = "complete";
  connectionState = "new";
  signalingState = "stable";
  localDescription = null;
  #transceivers = [];
  createDataChannel = () => Object.assign(new EventTarget(), { readyState: "connecting", close() {} });
  addTransceiver(kind, { direction } = {}) {
    const transceiver = { mid: String(this.#transceivers.length), direction, sender: { track: null }, receiver: { track: { kind } } };
    this.#transceivers.push(transceiver);
    return transceiver;
  }
  getTransceivers = () => this.#transceivers;
  getSenders = () => [];
  getReceivers = () => [];
  createOffer = async () => ({ type: "offer", sdp: "v=0\r\n" });
  async setLocalDescription(description) {
    this.localDescription = description ?? (await this.createOffer());
  }
  getStats = async () => new Map();
  close() {}
}

test("a token that may start one session starts no second one", async () => {
  const jwt = await mint();
  await connect(jwt);
  const { failure, calls } = await connect(jwt);
  assert.match(failure, /403/);
  assert.deepEqual(calls, ["POST /sessions 403"]);
});

test("a quota that is used up is told, and nothing is left behind", async () => {
  await control("PUT", "quotas", { concurrent: 1, starts_per_minute: 0, start_burst: 0 });
  const started = await fetch(`${api}/sessions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${await mint()}` },
    body: JSON.stringify({ model: { name: MODEL } }),
  });
  assert.equal(started.status, 201);
  const { failure, calls } = await connect(await mint());
  assert.match(failure, /429/);
  assert.deepEqual(calls, ["POST /sessions 429"]);
});

test("a key is not a token", async () => {
  const { failure, calls } = await connect(KEY);
  assert.match(failure, /401/);
  assert.deepEqual(calls, ["POST /sessions 401"]);
});

// Without this, the tests above would pass also with an SDK that takes anything.
const started = { session_id: "s", state: "CREATED", cluster: "c", model: { name: MODEL }, server_info: { server_version: "1" } };
for (const member of Object.keys(started)) {
  test(`the SDK refuses an answer without ${member}`, async () => {
    const { [member]: _, ...lacking } = started;
    await control("PUT", "faults", { faults: [{ route: "POST /sessions", status: 201, body: JSON.stringify(lacking) }] });
    const { failure, calls } = await connect(await mint());
    assert.ok(failure);
    assert.deepEqual(calls, ["POST /sessions 201"], "it went on");
  });
}
