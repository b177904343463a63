// What the types let pass, and what not: `tsc` judges, nothing runs.
import { shared } from "nexios-client/shared";
import { type Client, type Closed, type Member, NexiosError, connect } from "nexios-client";

const client: Client = connect("wss://example.org/live", {
  protocols: async () => ["bearer", "token"],
  storage: sessionStorage,
  WebSocket,
  json: true,
});
const off: () => void = client.on("close", ({ code, retry, kind }: Closed) => {
  if (kind === "policy") console.log(code.toFixed(), retry);
  // @ts-expect-error: there is no such kind
  if (kind === "polite") return;
});
off();
connect(["ws://a.example", new URL("ws://b.example")]).close();
connect(["ws://a.example", async () => "ws://b.example"], { token: async () => "t", bigint: "string", retryFirst: false }).close();
const stop: () => void = client.subscribe("general", { message: (text, { offset }) => [text, offset] });
stop();
client.on("parked", ({ code, reason, kind }) => [code.toFixed(), reason, kind]);
client.on("unauthorized", ({ code }) => code);
// @ts-expect-error: a room has no such event
client.subscribe("general", { open: () => {} });
// @ts-expect-error: an address is no number
connect([1]);
client.on("reconnecting", ({ attempt, delay }) => attempt + delay);
client.on("joined", (room, { recovered }) => room.on("message", (text) => recovered && text));
const sent: boolean = client.send({ any: "value" });

const room = client.room("general");
room.on("message", async (data, { offset }) => {
  const next: number = (offset ?? 0) + 1;
  await fetch(`/${next}/${data.text}`);
});
room.on("presence", (change) => {
  if (change.event === "state") return change.users.map(({ user }: Member) => user);
  // @ts-expect-error: a change is of one user
  return change.users;
});
// @ts-expect-error: there is no such event
room.on("news", () => {});
// @ts-expect-error: it belongs to the client
room.on("reconnecting", () => {});
// @ts-expect-error: what it is has been settled by the server
room.joined = true;
const position: string | undefined = (await room.publish("hi", { key: "k" })).position;
const members: Member[] = await room.presence();
try {
  await client.request("sum", [1, 2], { timeout: 1_000 });
} catch (error) {
  if (error instanceof NexiosError && error.code === "forbidden") console.log(sent, position, members, error.key, error.maybeStored);
}
// @ts-expect-error: a client is made by `connect`
new Client("wss://example.org");
connect("wss://example.org/live", { WebSocket: shared({ name: "ann", WebSocket }) });
// @ts-expect-error: it needs a name
shared();
