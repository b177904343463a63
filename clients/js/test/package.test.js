import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";
import * as nexios from "../nexios.js";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const read = (name) => readFileSync(path(name), "utf8");

test("minified and gzipped it is below 6 KiB", (t) => {
  const source = read("../nexios.js");
  const { code } = transformSync(source, { minify: true, format: "esm" });
  const size = gzipSync(code, { level: 9 }).length;
  t.diagnostic(`nexios.js: ${size} bytes minified and gzipped, ${gzipSync(source, { level: 9 }).length} gzipped as it is`);
  assert.ok(size < 6 * 1024, `${size} bytes`);
});

test("it is one module without dependencies", () => {
  assert.doesNotMatch(read("../nexios.js"), /^\s*import\b|\brequire\(|\bimport\(/m);
  const { dependencies, peerDependencies, files } = JSON.parse(read("../package.json"));
  assert.deepEqual([dependencies, peerDependencies, files], [undefined, undefined, ["nexios.js", "nexios.d.ts"]]);
});

test("the types let pass what they should, and nothing else", () => {
  const tsc = path("../node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", path("tsconfig.json")], { stdio: "pipe", encoding: "utf8" });
});

test("every name of the types is there, and every name is typed", () => {
  const typed = read("../nexios.d.ts");
  assert.deepEqual(Object.keys(nexios).sort(), ["NexiosError", "connect"]);
  assert.deepEqual([...typed.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name).sort(), ["NexiosError", "connect"]);
  class Idle {
    close() {}
  }
  const client = nexios.connect("ws://test", { WebSocket: Idle });
  const methods = (type) => [...typed.split(`export interface ${type} {`)[1].split("\n}")[0].matchAll(/^  (\w+)(?:<.*>)?\(/gm)];
  for (const [object, type] of [[client, "Client"], [client.room("r"), "Room"]]) {
    const expected = new Set(methods(type).map(([, name]) => name));
    const found = new Set();
    for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      for (const name of Object.getOwnPropertyNames(at)) if (!/^_|^constructor$/.test(name) && typeof object[name] === "function") found.add(name);
    }
    assert.deepEqual(found, expected);
  }
  client.close();
});
