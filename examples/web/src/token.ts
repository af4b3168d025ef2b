// What the token route answers, and what a person is told when it has no token. See docs/token-route.md.

/** A token, and when it expires by the clock of this browser, in milliseconds since 1970. */
export type Token = { readonly jwt: string; readonly expiresAt: number };

/** Why there is no token: a sentence for a person, and from when asking again may help, in milliseconds since 1970. */
export class NoToken extends Error {
  override readonly name = "NoToken";
  readonly again: number;

  constructor(sentence: string, again: number) {
    super(sentence);
    this.again = again;
  }
}

// Longer than this nobody looks at a page that does nothing.
const patience = 30_000;

/**
 * Asks the route for a token. It posts, so that no browser keeps the answer: each visit gets the token that is there now.
 * @throws NoToken
 */
export async function fetchToken(now: () => number = Date.now): Promise<Token> {
  let answer: Response;
  let body: unknown;
  try {
    answer = await fetch("/api/token?expires_at=true", { method: "POST", signal: AbortSignal.timeout(patience) });
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
    throw new NoToken("A session cannot be started: this site is not set up rightly. Try again later, or tell those who run it.", now());
  }
  return { jwt, expiresAt };
}

// By how much the server's clock is ahead. Clocks of visitors are wrong more often than one thinks, and sessions would end at once.
function ahead(answer: Response, now: number): number {
  const served = Date.parse(answer.headers.get("Date") ?? "");
  return Math.abs(served - now) > 5000 ? served - now : 0; // less is the way of the answer, and the header's whole seconds
}

// The route's own sentence is for the visitor; it is there unless something in between answered.
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
