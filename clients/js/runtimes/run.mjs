// Runs the package under jest and under Deno.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const run = (command, args, env = {}) =>
  new Promise((resolve) => spawn(command, args, { stdio: "inherit", env: { ...process.env, ...env } }).on("exit", resolve));

const jest = await run(process.execPath, ["node_modules/jest/bin/jest.js", "--ci"]);
const { server, url } = await require("./server.cjs").start();
const deno = await run("node_modules/.bin/deno", ["run", "--allow-net=127.0.0.1", "--allow-env=LIVE_URL", "--node-modules-dir=manual", "deno.mjs"], { LIVE_URL: url });
server.clients.forEach((socket) => socket.terminate());
server.close();
console.log(`jest ${jest ? "failed" : "passed"}, Deno ${deno ? "failed" : "passed"}`);
process.exit(jest || deno ? 1 : 0);
