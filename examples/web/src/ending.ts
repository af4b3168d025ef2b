// The reason why a visit is over, as a sentence for the visitor.

/**
 * How long before its token expires the page ends a session, in milliseconds. The SDK needs a valid token to end it. Otherwise the session would
 * continue at your expense.
 */
export const margin = 30_000;

/** How long before the end the page warns the visitor, in milliseconds. */
export const warning = 5 * 60_000;

export const expired = "Your time is over, because the token of this visit has expired. Start again to get a new one.";
export const lost = "The connection was lost. Start again to continue.";

/** Explains an error of the SDK. Its code is not specific, but its text contains the HTTP status of Reactor's response. */
export function explain(message: string): string {
  switch (/\b([45]\d\d)\b/.exec(message)?.[1]) {
    case "401":
      return "Reactor rejected the token. Start again to get a new one.";
    case "403":
      return "This token may not start another session. Try again later with a new token.";
    case "429":
      return "All places are taken at the moment. Try again in a minute.";
    default:
      return "The session could not be started. Try again. If that does not help, contact the operator of this site.";
  }
}

/** Formats a duration in minutes and seconds, such as 4:05. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
