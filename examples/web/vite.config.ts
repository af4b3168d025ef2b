import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Where npm run dev finds what it does not serve itself: server/, run by hand.
const server = "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  // Into the Go program that serves the page. public/ holds the file that keeps the folder in git.
  build: { outDir: "server/page", emptyOutDir: true },
  server: { proxy: { "/api/token": server, "/settings.json": server } },
  // The timeout is for a test that hangs. A machine that has much else to do is no failure.
  test: { environment: "jsdom", testTimeout: 120_000 },
});
