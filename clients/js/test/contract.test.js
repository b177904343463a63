// The contract that all clients fulfil: clients/contract/README.md.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { play } from "./contract/player.js";

const contract = new URL("../../contract/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, contract), "utf8"));

const files = readdirSync(new URL("scenarios/", contract)).filter((name) => name.endsWith(".json"));
const scenarios = files.flatMap((name) => read(`scenarios/${name}`));
const pending = new Set(read("pending.json").js);
const MEMBERS = ["name", "spec", "options", "only", "because", "steps"];
const PAGES = /^docs\/[\w-]+\.md#[\w-]+$/;

test("each scenario has a name of its own, a page, and members that there are", () => {
  const names = scenarios.map(({ name }) => name);
  assert.deepEqual(names.filter((name, at) => names.indexOf(name) !== at), []);
  assert.deepEqual([...pending].filter((name) => !names.includes(name)), [], "pending.json names what there is");
  for (const { name, spec, only, because, ...members } of scenarios) {
    assert.match(spec, PAGES, name);
    assert.deepEqual(Object.keys(members).filter((member) => !MEMBERS.includes(member)), [], name);
    assert.equal(only === undefined, because === undefined, `${name}: only, with because`);
  }
});

for (const scenario of scenarios) {
  if (!(scenario.only ?? ["js"]).includes("js")) continue;
  test(scenario.name, { timeout: 60_000 }, async () => {
    if (pending.has(scenario.name)) await assert.rejects(play(scenario), "it passes: take it off pending.json");
    else await play(scenario);
  });
}
