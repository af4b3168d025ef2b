import { useEffect, useReducer } from "react";

/** The time, in milliseconds since 1970. A component that uses it renders again each second. */
export function useNow(): number {
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, []);
  return Date.now();
}
