import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

// The SDK's place is taken by one that shows what it is given; what the real one makes of it is the browser test's matter.
const session = vi.hoisted(() => ({ status: "ready", lastError: undefined as { message: string } | undefined, sessionId: "s" as string | undefined, sendCommand: vi.fn() }));
const given = vi.hoisted(() => [] as string[]);
vi.mock("@reactor-team/js-sdk", () => ({
  ReactorProvider: ({ jwtToken, children }: { jwtToken: string; children: React.ReactNode }) => {
    given.push(jwtToken);
    return children;
  },
  ReactorView: () => <video />,
  useReactor: (select: (state: typeof session) => unknown) => select(session),
}));

import { App } from "./App";

const settings = { model: "reactor/helios", apiUrl: "https://reactor.test" };
let tokens: (string | { message: string; wait: string })[];

beforeEach(() => {
  vi.useFakeTimers();
  given.length = 0;
  Object.assign(session, { status: "ready", lastError: undefined, sendCommand: vi.fn() });
  vi.stubGlobal("fetch", async () => {
    const next = tokens.shift()!;
    return typeof next === "string"
      ? new Response(JSON.stringify({ jwt: next, expires_at: Math.floor(Date.now() / 1000) + 600 }))
      : new Response(JSON.stringify({ error: "busy", message: next.message }), { status: 503, headers: { "Retry-After": next.wait } });
  });
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const button = (name: RegExp) => screen.getByRole("button", { name }) as HTMLButtonElement;
const click = (name: RegExp) => act(async () => void fireEvent.click(button(name)));
const later = (milliseconds: number) => act(() => vi.advanceTimersByTimeAsync(milliseconds));

test("a session keeps its token, and the next one gets another", async () => {
  tokens = ["first", "second"];
  render(<App settings={settings} />);
  await click(/^Start/);
  await later(5000);
  expect(new Set(given)).toEqual(new Set(["first"]));
  await click(/^End/);
  given.length = 0;
  await click(/^Start/);
  expect(new Set(given)).toEqual(new Set(["second"]));
});

test("the page warns that the time is nearly over, and the session ends while its token can still end it", async () => {
  tokens = ["first"];
  render(<App settings={settings} />);
  await click(/^Start/);
  expect(screen.queryByText(/Ends in/)).toBeNull();
  await later(300_000);
  expect(screen.getByText(/Ends in 4:30/)).toBeTruthy();
  await later(270_000);
  expect(screen.getByRole("alert").textContent).toContain("Your time is over");
});

test("the page says why there is no token, and when to try again", async () => {
  tokens = [{ message: "No token is ready yet.", wait: "3" }, "first"];
  render(<App settings={settings} />);
  await click(/^Start/);
  expect(screen.getByRole("alert").textContent).toBe("No token is ready yet.");
  expect(button(/^Start again in 0:03/).disabled).toBe(true);
  await later(3000);
  await click(/^Start again$/);
  expect(given[0]).toBe("first");
});

test("a session that ends by itself says why", async () => {
  tokens = ["first"];
  const { rerender } = render(<App settings={settings} />);
  await click(/^Start/);
  Object.assign(session, { status: "disconnected", lastError: { message: "Failed to create session: 429" } });
  await act(async () => rerender(<App settings={{ ...settings }} />));
  expect(screen.getByRole("alert").textContent).toContain("All places are taken");
});

test("the first prompt starts the model, and others change it", async () => {
  tokens = ["first"];
  render(<App settings={settings} />);
  await click(/^Start/);
  const field = screen.getByLabelText(/What should/);
  for (const prompt of ["a storm", "calm"]) {
    fireEvent.change(field, { target: { value: prompt } });
    await act(async () => void fireEvent.submit(field.closest("form")!));
  }
  expect(session.sendCommand.mock.calls).toEqual([["set_prompt", { prompt: "a storm" }], ["start", {}], ["set_prompt", { prompt: "calm" }]]);
  session.sendCommand.mockRejectedValue(new Error("closed"));
  await act(async () => void fireEvent.submit(field.closest("form")!));
  expect(screen.getByRole("alert").textContent).toContain("Send it again");
});
