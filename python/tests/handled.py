"""One handler, one client."""

from apps import app_with
from serving import messages_of


async def handled(serve, handler, talk=None, **settings):
    """Serves a handler to one client; an assertion that fails in it fails the test."""
    failed = []

    async def guarded(ws):
        await ws.accept()
        try:
            await handler(ws)
        except BaseException as error:
            failed.append(error)
            raise

    async with serve(app_with(guarded, settings=settings)) as server, server.connect() as ws:
        if talk:
            await talk(ws)
        messages = await messages_of(ws)
    if failed:
        raise failed[0]
    return messages
