// A tab that shares its connection behaves as one that does not: the same scenarios.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { shared } from "../shared.js";
import { play } from "./contract/player.js";
import { Locks, channels } from "./origin.js";

const directory = new URL("../../contract/scenarios/", import.meta.url);
const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
const scenarios = files.flatMap((name) => JSON.parse(readFileSync(new URL(name, directory), "utf8")));

const inOneTab = (WebSocket) => shared({ name: "test", WebSocket, locks: new Locks(), BroadcastChannel: channels() });

for (const scenario of scenarios) {
  if (!(scenario.only ?? ["js"]).includes("js")) continue;
  test(scenario.name, { timeout: 60_000 }, () => play(scenario, inOneTab));
}
