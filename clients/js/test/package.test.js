import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";
import { built } from "../build.mjs";
import * as nexios from "../nexios.js";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const read = (name) => readFileSync(path(name), "utf8");

test("minified and gzipped it is below 11 KiB", (t) => {
  const source = read("../nexios.js");
  const { code } = transformSync(source, { minify: true, format: "esm" });
  const size = gzipSync(code, { level: 9 }).length;
  const whole = gzipSync(source, { level: 9 }).length;
  t.diagnostic(`nexios.js: ${size} bytes minified and gzipped, ${whole} gzipped as it is`);
  assert.ok(size < 11 * 1024, `${size} bytes`);
});

test("each module is without dependencies", () => {
  for (const name of ["nexios", "shared"]) assert.doesNotMatch(read(`../${name}.js`), /^\s*import\b|\brequire\(|\bimport\(/m);
  const { dependencies, peerDependencies, files } = JSON.parse(read("../package.json"));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  const built = (name) => [`${name}.js`, `${name}.d.ts`, `${name}.cjs`, `${name}.d.cts`];
  assert.deepEqual(files, [...built("nexios"), ...built("shared")]);
});

test("the pages say how large it is", () => {
  const { code } = transformSync(read("../nexios.js"), { minify: true, format: "esm" });
  const size = `${(gzipSync(code, { level: 9 }).length / 1024).toFixed(1)} KiB minified and gzipped`;
  for (const page of ["../README.md", "../../../docs/clients.md"]) assert.ok(read(page).replace(/\s+/g, " ").includes(size), `${page}: ${size}`);
});

test("the built files are those of the source: npm run build", () => {
  for (const [name, text] of Object.entries(built())) assert.equal(read(`../${name}`), text, name);
});

test("require gives what import gives", () => {
  const require = createRequire(import.meta.url);
  assert.deepEqual(Object.keys(require("../nexios.cjs")).sort(), Object.keys(nexios).sort());
  assert.deepEqual(Object.keys(require("../shared.cjs")), ["shared"]);
  const code = "const { connect } = require('nexios-client'); console.log(typeof connect)";
  const options = { cwd: path(".."), encoding: "utf8" };
  assert.equal(execFileSync(process.execPath, ["--input-type=commonjs", "--eval", code], options), "function\n");
});

test("publint and arethetypeswrong find nothing in the package", () => {
  const checks = { "publint/src/cli.js": ["--strict"], "@arethetypeswrong/cli/dist/index.js": ["--pack"] };
  for (const [script, args] of Object.entries(checks)) {
    const command = [path(`../node_modules/${script}`), ...args, path("..")];
    const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  }
});

test("a project of CommonJS gets the types", () => {
  const directory = mkdtempSync(join(tmpdir(), "nexios-"));
  mkdirSync(join(directory, "node_modules"));
  symlinkSync(path(".."), join(directory, "node_modules/nexios-client"));
  writeFileSync(join(directory, "package.json"), '{"type":"commonjs"}');
  writeFileSync(join(directory, "use.ts"), 'import nexios = require("nexios-client");\nnexios.connect("ws://a").close(1000);\n');
  const { compilerOptions } = JSON.parse(read("tsconfig.json"));
  const options = { ...compilerOptions, paths: undefined, module: "node16" };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions: options }));
  const tsc = path("../node_modules/typescript/bin/tsc");
  assert.equal(spawnSync(process.execPath, [tsc, "--project", directory], { encoding: "utf8" }).stdout, "");
});

test("the types let pass what they should, and nothing else", () => {
  const tsc = path("../node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", path("tsconfig.json")], { stdio: "pipe", encoding: "utf8" });
});

test("every name of the types is there, and every name is typed", () => {
  const typed = read("../nexios.d.ts");
  assert.deepEqual(Object.keys(nexios).sort(), ["NexiosError", "connect"]);
  const exported = [...typed.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(exported.sort(), ["NexiosError", "connect"]);
  class Idle {
    close() {}
  }
  const client = nexios.connect("ws://test", { WebSocket: Idle });
  const body = (type) => typed.split(`export interface ${type} {`)[1].split("\n}")[0];
  const methods = (type) => [...body(type).matchAll(/^  (\w+)(?:<.*>)?\(/gm)];
  for (const [object, type] of [[client, "Client"], [client.room("r"), "Room"]]) {
    const expected = new Set(methods(type).map(([, name]) => name));
    const found = new Set();
    for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      for (const name of Object.getOwnPropertyNames(at)) {
        if (!/^_|^constructor$/.test(name) && typeof object[name] === "function") found.add(name);
      }
    }
    assert.deepEqual(found, expected);
  }
  client.close();
});

test("what the page and the README show fits the types", () => {
  const directory = mkdtempSync(join(tmpdir(), "nexios-"));
  const pages = ["../../../docs/clients.md", "../README.md"].map(read);
  const snippets = pages.flatMap((page) => [...page.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code));
  assert.ok(snippets.length >= 3);
  snippets.forEach((code, number) => writeFileSync(join(directory, `${number}.js`), code));
  const given = "declare module 'ws' { const ws: typeof WebSocket; export default ws }\n"
    + ["show", "keep", "loadAnew", "user"].map((name) => `declare function ${name}(...values: any[]): any;`).join("\n");
  writeFileSync(join(directory, "given.d.ts"), given);
  const { compilerOptions } = JSON.parse(read("tsconfig.json"));
  const paths = { "nexios-client": [path("../nexios.d.ts")], "nexios-client/shared": [path("../shared.d.ts")] };
  const options = { ...compilerOptions, paths, allowJs: true, checkJs: true };
  writeFileSync(join(directory, "package.json"), '{"type":"module"}');
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions: options }));
  const tsc = path("../node_modules/typescript/bin/tsc");
  const { stdout } = spawnSync(process.execPath, [tsc, "--project", directory], { encoding: "utf8" });
  assert.equal(stdout, "");
});
