// The page of examples/web in Debian's Chromium, on a real Kubernetes: from kubectl apply to moving video, with the token from the Secret. The tests
// are one story, and go on where the one before has ended. make browser-test runs them; main.go has started cluster, emulator and operator.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const repository = new URL("../../../", import.meta.url).pathname;
const pictures = `${repository}bin/browser-test`;
const api = process.env.REACTOR_API_URL;
const firstKey = "rk_browser_test_first_0123456789";
const secondKey = "rk_browser_test_second_0123456789";

// How long a test waits for what is to happen. It measures nothing: it ends tests that wait in vain.
const patience = 60_000;

let browser;
let site; // where the page is
let visitor; // the page of the first visit, which stays open
let session; // and its session

// step is a test that is left out when one before it has failed.
let failed = false;
function step(name, story) {
  test(name, async (t) => {
    if (failed) return t.skip("a step before has failed");
    failed = true;
    await story();
    failed = false;
  });
}

before(async () => {
  assert.ok(process.env.KUBECTL && api, "run make browser-test");
  mkdirSync(pictures, { recursive: true });
  // Chromium looks for Google's servers unless it is told not to. --no-sandbox, because root has none.
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
});

after(async () => browser?.close());

step("kubectl apply brings a page that shows moving video, with the token from the Secret", async () => {
  await control("POST", "keys", { key: firstKey });
  apply(secretOf(firstKey));
  const all = manifests();
  apply(all.filter((part) => !part.includes("localhost/web:test")).join("\n---\n"));
  kubectl("wait", "--for=condition=Ready", "--timeout=60s", "reactortoken/web");
  kubectl("wait", "--for=condition=Available", "--timeout=60s", "deployment/web-token-server");
  apply(all.join("\n---\n"));
  kubectl("rollout", "status", "--timeout=60s", "deployment/web");
  site = `http://${addressOf("web")}:8080`;

  visitor = await visit();
  session = await visitor.locator("[data-session]").getAttribute("data-session");
  assert.ok(await moves(visitor), "the picture stands still");
  await visitor.screenshot({ path: `${pictures}/live.png` });
  assert.equal((await sessionOf(session)).jti, tokenInSecret().jti, "the session was started with another token than the Secret's");
  assert.deepEqual(visitor.failures, []);
});

step("a prompt reaches the model", async () => {
  await visitor.getByLabel("What should the model show?").fill("a lighthouse in a storm");
  await visitor.getByRole("button", { name: "Show" }).click();
  await visitor.getByRole("button", { name: "Show", disabled: false }).waitFor();
  assert.equal(await visitor.getByRole("alert").count(), 0);
});

step("the token is renewed while the video plays, and the session goes on", async () => {
  const before = tokenInSecret();
  kubectl("annotate", "--overwrite", "reactortoken/web", `reactor.inc/renew-requested-at=${new Date().toISOString()}`);
  await eventually("a renewed Secret", () => tokenInSecret().jti !== before.jti);
  await served(tokenInSecret().jti);
  await goesOn();
});

step("a second visit gets the new token", async () => {
  const second = await visit();
  const id = await second.locator("[data-session]").getAttribute("data-session");
  assert.notEqual(id, session);
  assert.equal((await sessionOf(id)).jti, tokenInSecret().jti);
  assert.notEqual((await sessionOf(id)).jti, (await sessionOf(session)).jti);
  await second.getByRole("button", { name: "End" }).click();
  await eventually("the end of its session", async () => (await sessionOf(id)).state === "CLOSED");
  await second.close();
  await goesOn();
});

step("the key is rotated and the old one revoked, and the session goes on", async () => {
  const before = tokenInSecret();
  await control("POST", "keys", { key: secondKey });
  apply(secretOf(secondKey));
  await eventually("a token of the new key", () => tokenInSecret().jti !== before.jti);
  await control("DELETE", "keys", { key: firstKey });
  await served(tokenInSecret().jti);
  await goesOn();
  await visitor.getByRole("button", { name: "End" }).click();
  await eventually("the end of the session, with the token that it was started with", async () => (await sessionOf(session)).state === "CLOSED");
  assert.equal((await sessionOf(session)).end_reason, "deleted");
});

step("a person understands what it means that Reactor starts no session", async () => {
  for (const [status, told] of [[403, /may not start another session/], [429, /All places are taken/], [500, /could not be started/]]) {
    await control("PUT", "faults", { faults: [{ route: "POST /sessions", status, times: 1 }] });
    await visitor.getByRole("button", { name: /^Start/ }).click();
    await visitor.getByText(told).waitFor();
  }
  await control("DELETE", "faults");
});

// Reactor grants 12 s, and then nothing more: the Secret holds an expired token, and nobody could do anything about it.
step("a person understands what an expired Secret means, and can go on when there is a token again", async () => {
  const before = tokenInSecret();
  await control("PUT", "lifetimes", { default: "12s", ceiling: "12s" });
  kubectl("annotate", "--overwrite", "reactortoken/web", `reactor.inc/renew-requested-at=${new Date().toISOString()}`);
  await eventually("the short token", () => tokenInSecret().jti !== before.jti);
  await control("PUT", "faults", { faults: [{ route: "POST /tokens", status: 503 }] });
  await eventually("its end", () => tokenInSecret().exp * 1000 < Date.now());
  await eventually("a route without a token", async () => (await askForToken()).status === 503);

  await visitor.getByRole("button", { name: /^Start/ }).click();
  const told = visitor.getByRole("alert");
  await told.waitFor();
  assert.match(await told.textContent(), /^A session cannot be started at the moment/);
  assert.doesNotMatch(await told.textContent(), /[45]\d\d|undefined|JSON|Secret|token/i, "that is not for a visitor");
  await visitor.screenshot({ path: `${pictures}/no-token.png` });

  await control("PUT", "lifetimes", { default: "6h", ceiling: "6h" });
  await control("DELETE", "faults");
  await served();
  await visitor.getByRole("button", { name: "Start again", disabled: false }).click();
  await live(visitor);
  assert.ok(await moves(visitor));
});

step("who closes the page ends the session", async () => {
  await visitor.close({ runBeforeUnload: true });
  await eventually("the end of the last session", async () => (await ledger()).sessions.every(({ state }) => state === "CLOSED"));
});

step("no key and no token is told to the console", async () => {
  const said = visitor.said.join("\n");
  for (const secret of [firstKey, secondKey, "eyJ"]) assert.ok(!said.includes(secret), "a secret stands in the console");
});

// visit opens the page and starts its session.
async function visit() {
  const page = await (await browser.newContext({ viewport: { width: 1000, height: 800 } })).newPage();
  page.setDefaultTimeout(patience);
  page.failures = [];
  page.said = [];
  page.on("pageerror", (error) => page.failures.push(String(error)));
  page.on("console", (message) => page.said.push(message.text()));
  await page.goto(site);
  await page.getByRole("button", { name: /^Start/ }).click();
  await live(page);
  return page;
}

async function live(page) {
  try {
    await page.getByText("Live", { exact: true }).waitFor();
  } catch (error) {
    await page.screenshot({ path: `${pictures}/failed.png` });
    throw new Error(`${error.message}\nthe console said:\n${page.said.join("\n")}`);
  }
}

// moves waits for two frames of the page's video that differ, each a real picture.
async function moves(page) {
  return page.evaluate(async () => {
    const video = document.querySelector("video");
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const frame = () =>
      new Promise((resolve) =>
        video.requestVideoFrameCallback(() => {
          context.drawImage(video, 0, 0, canvas.width, canvas.height);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          resolve({ picture: data.join(), colours: new Set(new Uint32Array(data.buffer)).size, at: video.currentTime });
        }),
      );
    const first = await frame();
    for (;;) {
      const next = await frame();
      if (next.picture !== first.picture) return first.colours > 8 && next.colours > 8 && next.at > first.at;
    }
  });
}

// goesOn checks that the first visit's session is the one that it was, alone, and that its video moves.
async function goesOn() {
  assert.equal(await visitor.locator("[data-session]").getAttribute("data-session"), session);
  assert.equal(await visitor.getByText("Live", { exact: true }).count(), 1);
  assert.ok(await moves(visitor), "the picture stands still");
  const { sessions } = await ledger();
  assert.deepEqual(sessions.filter(({ state }) => state !== "CLOSED").map(({ id, state }) => [id, state]), [[session, "ACTIVE"]]);
}

const askForToken = () => fetch(`${site}/api/token`, { method: "POST" });

// served waits until the route gives the token with this id, or any.
async function served(jti) {
  await eventually("the new token at the route", async () => {
    const answer = await askForToken();
    return answer.ok && (!jti || claims((await answer.json()).jwt).jti === jti);
  });
}

const claims = (jwt) => JSON.parse(Buffer.from(jwt.split(".")[1], "base64url"));

function tokenInSecret() {
  const secret = JSON.parse(kubectl("get", "secret", "web-reactor", "--output=json"));
  return claims(Buffer.from(secret.data.jwt, "base64").toString());
}

const ledger = async () => (await fetch(`${api}/_emulator/ledger`)).json();
const sessionOf = async (id) => (await ledger()).sessions.find((one) => one.id === id);

async function control(method, path, body) {
  const answer = await fetch(`${api}/_emulator/${path}`, { method, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
}

const secretOf = (key) => JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata: { name: "reactor-api-key" }, stringData: { "api-key": key } });

// What a user applies, part by part, with the images and the Reactor of this test, and one pod of each.
function manifests() {
  return readFileSync(`${repository}examples/web/web.yaml`, "utf8")
    .replace(/ghcr\.io\S+reactor-token-server:latest/, "localhost/reactor-token-server:test")
    .replace(/ghcr\.io\/acme\/web:1\.0/, "localhost/web:test")
    .replace("https://api.reactor.inc", api)
    .replace("--proxy-networks=", "--caller-requests-per-minute=100000\n        - --proxy-networks=198.19.0.0/16,")
    .replaceAll("runAsNonRoot: true", "runAsNonRoot: true\n        runAsUser: 65532")
    .replaceAll("replicas: 2", "replicas: 1")
    .split("\n---\n");
}

const addressOf = (app) => kubectl("get", "pods", `--selector=app=${app}`, "--field-selector=status.phase=Running", "--output=jsonpath={.items[0].status.podIP}");

const apply = (text) => run(["apply", "--filename=-"], text);
const kubectl = (...args) => run(args);

function run(args, input) {
  const { status, stdout, stderr } = spawnSync(process.env.KUBECTL, args, { input, encoding: "utf8" });
  assert.equal(status, 0, `kubectl ${args.join(" ")}: ${stderr}`);
  return stdout;
}

async function eventually(what, check) {
  const deadline = Date.now() + patience;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
