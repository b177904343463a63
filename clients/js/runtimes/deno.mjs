// The package as Deno imports it, by its name; its loss is reported with the code 0.
import { NexiosError, connect } from "nexios-client";

const client = connect(Deno.env.get("LIVE_URL"));
const check = (isSo, what) => {
  if (!isSo) throw new Error(what);
  console.log(`ok ${what}`);
};

check((await client.request("echo", "hello")) === "hello", "a request is answered");
const bytes = new Uint8Array(await client.request("echo", new Uint8Array([1, 0x1e, 3])));
check(bytes.join() === "1,30,3", "bytes stay bytes");
const refusal = await client.request("no").catch((error) => error);
check(refusal instanceof NexiosError && refusal.code === "forbidden", "a refusal is a NexiosError");
const closed = new Promise((resolve) => client.on("close", resolve));
const lost = await client.request("cut").catch((error) => error);
check(lost.code === "disconnected", "what was sent is disconnected");
const { kind, retry, code } = await closed;
check(kind === "lost" && retry, `a loss (${code}) is retried`);
check((await client.request("echo", "again")) === "again", "the client is back");
client.close();
