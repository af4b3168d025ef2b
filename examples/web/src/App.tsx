import { useCallback, useState } from "react";
import { clock } from "./ending";
import { useNow } from "./now";
import type { Settings } from "./settings";
import { Stage } from "./Stage";
import { fetchToken, NoToken, type Token } from "./token";

/** A visit, from the first click to the end of its session. */
type Visit =
  | { readonly state: "idle"; readonly why?: string | undefined; readonly retryAt?: number }
  | { readonly state: "asking" }
  | { readonly state: "live"; readonly token: Token };

export function App({ settings }: { readonly settings: Settings }) {
  const [visit, setVisit] = useState<Visit>({ state: "idle" });
  const over = useCallback((why?: string) => setVisit({ state: "idle", why }), []);

  // Each visit requests a new token, because the token of the last visit may have expired or reached its session limit.
  async function start() {
    setVisit({ state: "asking" });
    try {
      setVisit({ state: "live", token: await fetchToken() });
    } catch (error) {
      const { message, retryAt } = error instanceof NoToken ? error : new NoToken("Something went wrong. Load the page again.", 0);
      setVisit({ state: "idle", why: message, retryAt });
    }
  }

  return (
    <main>
      <h1>{settings.model}</h1>
      {visit.state === "live" ? (
        <Stage settings={settings} token={visit.token} onOver={over} />
      ) : (
        <Curtain asking={visit.state === "asking"} {...(visit.state === "idle" ? { why: visit.why, retryAt: visit.retryAt } : {})} onStart={start} />
      )}
    </main>
  );
}

type CurtainProps = { readonly asking: boolean; readonly why?: string | undefined; readonly retryAt?: number | undefined; readonly onStart: () => void };

/** The page without video: the reason, and a button. */
function Curtain({ asking, why, retryAt = 0, onStart }: CurtainProps) {
  const wait = retryAt - useNow();
  return (
    <section aria-label="Video" className="curtain">
      {why ? (
        <p role="alert" className="why">
          {why}
        </p>
      ) : (
        <p className="why about">Live video that the model makes while you watch. Your session lasts until you end it or close this page.</p>
      )}
      <button type="button" onClick={onStart} disabled={asking || wait > 0}>
        {asking ? "Starting" : why ? "Start again" : "Start"}
        {wait > 0 && ` in ${clock(wait)}`}
      </button>
    </section>
  );
}
