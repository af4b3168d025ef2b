/** The settings of this site, which come from server/main.go. */
export type Settings = { readonly model: string; readonly apiUrl: string };

/** Requests the settings from the server. It throws an error if the request fails. */
export async function fetchSettings(): Promise<Settings> {
  const answer = await fetch("/settings.json");
  if (!answer.ok) {
    throw new Error(`/settings.json: ${answer.status}`);
  }
  return (await answer.json()) as Settings;
}
