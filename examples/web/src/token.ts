// Requests a token from the token route, and explains to the visitor why there is none. See docs/token-route.md.

/** A token, and when it expires by the clock of this browser, in milliseconds since 1970. */
export type Token = { readonly jwt: string; readonly expiresAt: number };

/** Why there is no token: a sentence for the visitor, and the time of the next useful attempt, in milliseconds since 1970. */
export class NoToken extends Error {
  override readonly name = "NoToken";
  readonly retryAt: number;

  constructor(sentence: string, retryAt: number) {
    super(sentence);
    this.retryAt = retryAt;
  }
}

// The timeout of a request, in milliseconds. A visitor does not wait longer for the page.
const timeout = 30_000;

/**
 * Requests a token from the route. It uses POST, so that no browser caches the response, and each visit gets the current token.
 * @throws NoToken
 */
export async function fetchToken(now: () => number = Date.now): Promise<Token> {
  let answer: Response;
  let body: unknown;
  try {
    answer = await fetch("/api/token?expires_at=true", { method: "POST", signal: AbortSignal.timeout(timeout) });
    body = await answer.json().catch(() => undefined);
  } catch {
    throw new NoToken("The server cannot be reached. Check your connection, then try again.", now());
  }
  if (!answer.ok) {
    throw new NoToken(sentence(answer.status, body), now() + retryAfter(answer, now()));
  }
  const { jwt, expires_at: seconds } = (body ?? {}) as { jwt?: unknown; expires_at?: unknown };
  const expiresAt = Number(seconds) * 1000 - ahead(answer, now());
  if (typeof jwt !== "string" || jwt === "" || typeof seconds !== "number" || expiresAt <= now()) {
    throw new NoToken("A session cannot be started, because this site is not set up correctly. Try again later, or contact the operator of this site.", now());
  }
  return { jwt, expiresAt };
}

// How far the server's clock is ahead. The clocks of visitors are often wrong. Without this correction, sessions could end immediately.
function ahead(answer: Response, now: number): number {
  const served = Date.parse(answer.headers.get("Date") ?? "");
  return Math.abs(served - now) > 5000 ? served - now : 0; // a smaller difference is network latency and the header's precision of one second
}

// The response of the route contains a sentence for the visitor. A response of a proxy does not.
function sentence(status: number, body: unknown): string {
  const message = (body as { message?: unknown } | undefined)?.message;
  if (typeof message === "string" && message !== "") {
    return message;
  }
  return status === 401 || status === 403 ? "You may not start a session here. Sign in, then try again." : "A session cannot be started at the moment. Try again later.";
}

// Retry-After is in seconds, or a date.
function retryAfter(answer: Response, now: number): number {
  const value = answer.headers.get("Retry-After") ?? "";
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return wait > 0 ? wait : 0;
}
