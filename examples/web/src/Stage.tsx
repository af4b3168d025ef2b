import { ReactorProvider, ReactorView, useReactor } from "@reactor-team/js-sdk";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { clock, expired, explain, lost, margin, warning } from "./ending";
import { useNow } from "./now";
import type { Settings } from "./settings";
import type { Token } from "./token";

type Props = { readonly settings: Settings; readonly token: Token; readonly onOver: (why?: string) => void };

/**
 * A live session. It keeps the token that started it. A provider whose jwtToken changes would end its session and start another one. For
 * another token, end the session, and mount a new Stage.
 */
export function Stage({ settings, token, onOver }: Props) {
  const [{ jwt }] = useState(token);
  return (
    <ReactorProvider modelName={settings.model} apiUrl={settings.apiUrl} jwtToken={jwt} connectOptions={{ autoConnect: true }}>
      <Live expiresAt={token.expiresAt} onOver={onOver} />
    </ReactorProvider>
  );
}

const words = { disconnected: "Connecting", connecting: "Connecting", waiting: "Waiting for the model", ready: "Live" } as const;

function Live({ expiresAt, onOver }: { readonly expiresAt: number; readonly onOver: (why?: string) => void }) {
  const { status, lastError, sessionId } = useReactor(({ status, lastError, sessionId }) => ({ status, lastError, sessionId }));
  const left = expiresAt - margin - useNow();
  const started = useRef(false);

  useEffect(() => {
    if (status !== "disconnected") {
      started.current = true;
    } else if (started.current) {
      onOver(lastError ? explain(lastError.message) : lost);
    }
  }, [status, lastError, onOver]);

  useEffect(() => {
    if (left <= 0) {
      onOver(expired);
    }
  }, [left, onOver]);

  return (
    <section aria-label="Video" data-session={sessionId}>
      <ReactorView className="view" videoObjectFit="cover" />
      <p className="line" role="status">
        <span className={status === "ready" ? "dot live" : "dot"} aria-hidden="true" />
        <span>{words[status]}</span>
        {left < warning && <span className="soon">Ends in {clock(left)}</span>}
        <button type="button" className="quiet" onClick={() => onOver()}>
          End
        </button>
      </p>
      <Prompt ready={status === "ready"} />
    </section>
  );
}

/** Sends prompts to the model. The first prompt starts it. */
function Prompt({ ready }: { readonly ready: boolean }) {
  const sendCommand = useReactor((state) => state.sendCommand);
  const [failed, setFailed] = useState(false);
  const started = useRef(false);

  async function send(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const prompt = String(new FormData(event.currentTarget).get("prompt"));
    try {
      await sendCommand("set_prompt", { prompt });
      if (!started.current) {
        await sendCommand("start", {});
        started.current = true;
      }
      setFailed(false);
    } catch {
      setFailed(true);
    }
  }

  return (
    <form onSubmit={send}>
      <label htmlFor="prompt">What should the model show?</label>
      <div className="row">
        <input id="prompt" name="prompt" required autoComplete="off" placeholder="A lighthouse in a storm" disabled={!ready} />
        <button type="submit" disabled={!ready}>
          Show
        </button>
      </div>
      {failed && <p role="alert">The prompt did not reach the model. Send it again.</p>}
    </form>
  );
}
