/** What the server says about this site: see server/main.go. */
export type Settings = { readonly model: string; readonly apiUrl: string };

/** Asks the server for the settings. It throws when there are none. */
export async function fetchSettings(): Promise<Settings> {
  const answer = await fetch("/settings.json");
  if (!answer.ok) {
    throw new Error(`/settings.json: ${answer.status}`);
  }
  return (await answer.json()) as Settings;
}
