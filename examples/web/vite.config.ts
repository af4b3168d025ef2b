import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The server to which npm run dev forwards other requests: server/, which you start by hand.
const server = "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  // The output goes into the Go program that serves the page. A file in public/ keeps this folder in git.
  build: { outDir: "server/page", emptyOutDir: true },
  server: { proxy: { "/api/token": server, "/settings.json": server } },
  // The timeout is for a blocked test. It is long, because a busy machine is not a failure.
  test: { environment: "jsdom", testTimeout: 120_000 },
});
