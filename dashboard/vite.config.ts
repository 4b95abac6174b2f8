/** Builds the console into the Python package; in development proxies to a running server. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const SERVER = process.env["CACHEFLEET_URL"] ?? "http://127.0.0.1:8379";

/** Ships the notices that go with the design system's licence. */
function notices(): Plugin {
  return {
    name: "notices",
    apply: "build",
    generateBundle() {
      const folder = "node_modules/@cloudscape-design/components";
      const text = ["NOTICE", "THIRD-PARTY-LICENSES"]
        .map((name) => readFileSync(`${folder}/${name}`, "utf8"))
        .join("\n\n");
      this.emitFile({ type: "asset", fileName: "NOTICE.txt", source: text });
    },
  };
}

/** Puts a compressed copy beside what compresses, so that no request waits for that. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    writeBundle({ dir }) {
      for (const name of readdirSync(`${dir}/assets`)) {
        if (/\.(js|css|svg)$/.test(name)) {
          writeFileSync(`${dir}/assets/${name}.gz`, gzipSync(readFileSync(`${dir}/assets/${name}`), { level: 9 }));
        }
      }
    },
  };
}

/** Keeps the two cuts of the typeface that are used; all eight are two thirds of the styles. */
function fewerFonts(): Plugin {
  return {
    name: "fewer-fonts",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("global-styles/index.css")) {
        return undefined;
      }
      return code.replaceAll(/@font-face\s*{[^}]*}/g, (face) =>
        /font-style: normal/.test(face) && /font-weight: (400|700)/.test(face) ? face : "",
      );
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [react(), fewerFonts(), notices(), compressed()],
  build: {
    outDir: "../src/cachefleet/_console",
    emptyOutDir: true,
    target: "es2022",
    license: { fileName: "licenses.md" },
    // Everything is served by the server that the page came from: no inlining, no preload helper.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2500,
  },
  server: {
    proxy: {
      "^/$": {
        target: SERVER,
        bypass: (request) => (request.method === "POST" ? undefined : "/index.html"),
      },
      "/v1": { target: SERVER },
      "/console/config.json": { target: SERVER },
    },
  },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
} as Parameters<typeof defineConfig>[0]);
