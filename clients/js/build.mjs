// Makes `nexios.js` (ESM), `nexios.cjs` and its types of `src/` and `nexios.d.ts`, and `shared.*` likewise: `npm run build`.
// A test compares them with what is committed.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { buildSync } from "esbuild";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const BANNER = "// Made of clients/js/src by `npm run build`: change it there.";

function bundled(source, format) {
  const { outputFiles } = buildSync({
    entryPoints: [path(source)], bundle: true, write: false, format, target: "es2022", charset: "utf8",
    banner: { js: BANNER }, legalComments: "none",
  });
  return outputFiles[0].text;
}

/** Returns the texts of the files by their names. */
export const built = () => ({
  "nexios.js": bundled("src/index.js", "esm"),
  "nexios.cjs": bundled("src/index.js", "cjs"),
  "nexios.d.cts": readFileSync(path("nexios.d.ts"), "utf8"),
  "shared.js": bundled("src/shared/index.js", "esm"),
  "shared.cjs": bundled("src/shared/index.js", "cjs"),
  "shared.d.cts": readFileSync(path("shared.d.ts"), "utf8").replace("./nexios.js", "./nexios.cjs"),
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(built())) writeFileSync(path(name), text);
}
