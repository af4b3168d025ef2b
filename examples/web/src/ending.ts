// Why a visit is over, in a sentence for a person.

/** How long before its token expires a session is ended, in milliseconds: the SDK still needs the token to end it, or it goes on at your expense. */
export const margin = 30_000;

/** From when on a person is told that the end is near, in milliseconds before it. */
export const warning = 5 * 60_000;

export const expired = "Your time is over: the token of this visit has run out. Start again, and you get a new one.";
export const lost = "The connection was lost. Start again to go on.";

/** What an error of the SDK means. Its code says little, and its text holds the status that Reactor answered. */
export function explain(message: string): string {
  switch (/\b([45]\d\d)\b/.exec(message)?.[1]) {
    case "401":
      return "Reactor refused the token. Start again to get a new one.";
    case "403":
      return "This token may not start another session. Try again later, when there is a new one.";
    case "429":
      return "All places are taken at the moment. Try again in a minute.";
    default:
      return "The session could not be started. Try again, and tell those who run this site if that does not help.";
  }
}

/** A duration as a person reads it on a clock, such as 4:05. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
