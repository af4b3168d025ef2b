import { expect, test } from "vitest";
import { clock, explain } from "./ending";

test.each([
  ["Failed to create session: 401 {}", "rejected the token"],
  ["Failed to create session: 403 {}", "may not start another"],
  ["Failed to create session: 429 quota", "All places are taken"],
  ["Failed to create session: 500 oops", "could not be started"],
  ["ICE failed after 14290 ms", "could not be started"],
])("%s", (message, explanation) => expect(explain(message)).toContain(explanation));

test.each([
  [-5, "0:00"],
  [1, "0:01"],
  [59_001, "1:00"],
  [245_000, "4:05"],
])("%i ms", (left, shown) => expect(clock(left)).toBe(shown));
