import { createRoot } from "react-dom/client";
import { App } from "./App";
import { fetchSettings } from "./settings";
import "./style.css";

// The SDK writes its token to the console's debug output (2.9.0), where extensions and recorders of sessions read it.
console.debug = () => {};

const root = createRoot(document.getElementById("root")!);

// Do not use StrictMode. It mounts everything twice in development, and the second mount would start a second session at your expense.
fetchSettings().then(
  (settings) => root.render(<App settings={settings} />),
  () => root.render(<p role="alert">This site is not set up yet, or cannot be reached. Load the page again in a while.</p>),
);
