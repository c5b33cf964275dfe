import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// `VARIED_URL=http://127.0.0.1:8642 VARIED_TOKEN=... npm run dev` develops against a running server.
const target = process.env.VARIED_URL ?? "http://127.0.0.1:8642";
const token = process.env.VARIED_TOKEN ?? "";

export default defineConfig({
  plugins: [svelte()],
  base: "./",
  build: {
    outDir: "../varied/studio/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  server: {
    proxy: {
      "/api": { target, changeOrigin: true, headers: { Authorization: `Bearer ${token}`, Origin: target } },
    },
  },
});
