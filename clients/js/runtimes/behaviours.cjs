// What `require` gives; the tests beside it name an environment of jest.
const { NexiosError, connect } = require("nexios-client");
const { shared } = require("nexios-client/shared");

module.exports = (options) => {
  let client;
  beforeEach(() => (client = connect(process.env.LIVE_URL, options)));
  afterEach(() => client.close());

  test("a request is answered, with text and with bytes", async () => {
    expect(await client.request("echo", "hello")).toBe("hello");
    const bytes = await client.request("echo", new Uint8Array([1, 0x1e, 3]));
    expect(Array.from(new Uint8Array(bytes))).toEqual([1, 0x1e, 3]);
  });

  test("a refusal is a NexiosError", async () => {
    const error = await client.request("no").catch((error) => error);
    expect(error).toBeInstanceOf(NexiosError);
    expect(error.code).toBe("forbidden");
  });

  test("a value that is wrong fails at the call", async () => {
    await expect(client.request("echo", { a: new Map() })).rejects.toThrow("a Map has no form as JSON");
  });

  test("a loss is retried", async () => {
    const closed = new Promise((resolve) => client.on("close", resolve));
    await expect(client.request("cut")).rejects.toMatchObject({ code: "disconnected" });
    expect(await closed).toMatchObject({ kind: "lost", retry: true });
    expect(await client.request("echo", "again")).toBe("again");
  });

  test("without locks a tab connects by itself", () => {
    class Socket {}
    expect(shared({ name: "ann", WebSocket: Socket, locks: null, BroadcastChannel: null })).toBe(Socket);
  });
};
