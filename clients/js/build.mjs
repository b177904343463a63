// Makes `nexios.js` (ESM), `nexios.cjs` and its types of `src/` and `nexios.d.ts`: `npm run build`. A test compares them with what is committed.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { buildSync } from "esbuild";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const BANNER = "// Made of clients/js/src by `npm run build`: change it there.";

function bundled(format) {
  const { outputFiles } = buildSync({
    entryPoints: [path("src/index.js")], bundle: true, write: false, format, target: "es2022", charset: "utf8",
    banner: { js: BANNER }, legalComments: "none",
  });
  return outputFiles[0].text;
}

/** Returns the texts of the files by their names. */
export const built = () => ({
  "nexios.js": bundled("esm"),
  "nexios.cjs": bundled("cjs"),
  "nexios.d.cts": readFileSync(path("nexios.d.ts"), "utf8"),
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(built())) writeFileSync(path(name), text);
}
