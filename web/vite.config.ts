import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const outDir = "../varied/studio/static";

/** Store a digest of the sources with the page, so that a test can tell whether the page is current. */
function storeDigest(): Plugin {
  return {
    name: "store-digest",
    apply: "build",
    closeBundle() {
      const names = ["public", "src"]
        .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
      const digest = createHash("sha256");
      for (const name of [...names, "index.html", "package-lock.json", "vite.config.ts"].sort()) {
        digest.update(name).update("\0").update(readFileSync(name)).update("\0");
      }
      writeFileSync(join(outDir, "sources.sha256"), `${digest.digest("hex")}\n`);
    },
  };
}

// `VARIED_URL=http://127.0.0.1:8642 VARIED_TOKEN=... npm run dev` develops against a running server.
const target = process.env.VARIED_URL ?? "http://127.0.0.1:8642";
const token = process.env.VARIED_TOKEN ?? "";

export default defineConfig({
  plugins: [svelte(), storeDigest()],
  base: "./",
  build: {
    outDir,
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
