import { afterEach, expect, test, vi } from "vitest";
import { fetchToken, NoToken } from "./token";

const now = () => 1_800_000_000_000;

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: string, headers: Record<string, string> = {}) {
  const fetch = vi.fn(async (_: string, __: RequestInit) => new Response(body, { status, headers }));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

async function refusal(): Promise<NoToken> {
  try {
    await fetchToken(now);
  } catch (error) {
    expect(error).toBeInstanceOf(NoToken);
    return error as NoToken;
  }
  throw new Error("there was a token");
}

test("the request for a token is one that no browser caches", async () => {
  const fetch = answer(200, '{"jwt":"eyJ","expires_at":1800000600}');
  expect(await fetchToken(now)).toEqual({ jwt: "eyJ", expiresAt: 1_800_000_600_000 });
  expect(fetch.mock.calls[0]![0]).toBe("/api/token?expires_at=true");
  expect(fetch.mock.calls[0]![1].method).toBe("POST");
});

test.each([
  ["an hour ahead", -3_600_000],
  ["a day behind", 86_400_000],
])("a visitor whose clock is %s has as long as all others", async (_, served) => {
  const seconds = (now() + served) / 1000 + 600;
  answer(200, JSON.stringify({ jwt: "eyJ", expires_at: seconds }), { Date: new Date(now() + served).toUTCString() });
  expect((await fetchToken(now)).expiresAt).toBe(now() + 600_000);
});

test("the way of the answer is no wrong clock", async () => {
  answer(200, '{"jwt":"eyJ","expires_at":1800000600}', { Date: new Date(now() - 2000).toUTCString() });
  expect((await fetchToken(now)).expiresAt).toBe(1_800_000_600_000);
});

test("the route's own sentence is shown, and its Retry-After kept", async () => {
  answer(503, '{"error":"busy","message":"Too many requests. Try again later."}', { "Retry-After": "7" });
  expect(await refusal()).toMatchObject({ message: "Too many requests. Try again later.", retryAt: now() + 7000 });
  answer(503, '{"error":"busy","message":"Wait."}', { "Retry-After": new Date(now() + 9000).toUTCString() });
  expect((await refusal()).retryAt).toBe(now() + 9000);
});

test.each([
  [401, "<html>", "Sign in"],
  [403, "", "Sign in"],
  [502, "Bad Gateway", "cannot be started at the moment"],
  [200, "<html>", "not set up correctly"],
  [200, '{"jwt":""}', "not set up correctly"],
  [200, '{"jwt":"eyJ","expires_at":1800000000}', "not set up correctly"],
  [200, "null", "not set up correctly"],
])("%i %s becomes a sentence for the visitor", async (status, body, explanation) => {
  answer(status, body);
  expect(await refusal()).toMatchObject({ message: expect.stringContaining(explanation), retryAt: now() });
});

test("an unreachable server becomes a sentence for the visitor", async () => {
  vi.stubGlobal("fetch", async () => {
    throw new TypeError("Failed to fetch");
  });
  expect((await refusal()).message).toContain("cannot be reached");
});
