"""Parts of apps that many tests have."""

import asyncio

import nexios


def app_with(handler, path="/ws", settings=None, **route):
    app = nexios.NexiosApp(**(settings or {}))
    app.ws(path, **route)(handler)
    return app


async def echo(ws):
    await ws.accept()
    async for message in ws:
        await ws.send(message)


async def stay(ws):
    """Says when it is there, and stays until the client is gone."""
    await ws.accept()
    await ws.send_text("ready")
    await ws.wait_closed()


class Log:
    """What happened, in order; `await log.has(n)` waits for n entries."""

    def __init__(self):
        self.entries = []
        self._more = asyncio.Event()

    def __call__(self, entry):
        self.entries.append(entry)
        self._more.set()

    async def has(self, count, seconds=5.0):
        end = asyncio.get_running_loop().time() + seconds
        while len(self.entries) < count:
            self._more.clear()
            left = end - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except asyncio.TimeoutError:
                raise AssertionError(f"only {len(self.entries)} of {count}: {self.entries}") from None
        return self.entries
