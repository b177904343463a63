"""Clients that come back: `docs/live.md`. A room with history, presence, requests.

`python examples/python/live.py`, then connect `clients/js`, `nexios.client` or `nexios-client`.
"""

from __future__ import annotations

import argparse

from nexios import History, NexiosApp, RequestError, WebSocket

app = NexiosApp(live=True)
news = app.room("news", history=History(size=100, ttl=600))


@app.ws("/")
async def live(ws: WebSocket) -> None:
    """Joins each client to `news`, which has a history; clients join other rooms by themselves."""
    ws.client_id = ws.query_params.get("name", "")
    await ws.accept()
    await ws.join(news.name)
    await news.track(ws, {"since": "today"})
    async for text in ws.iter_text():
        if text == '"close"':
            await ws.close(4000, "enough")
        else:
            await ws.send_text(text)


@app.authorize_join
async def may_join(ws: WebSocket, room: str) -> bool:
    return room.startswith("chat-")


@app.authorize_publish
async def may_publish(ws: WebSocket, room: str) -> bool:
    return room in ws.rooms


@app.authorize_presence
async def may_see(ws: WebSocket, room: str) -> bool:
    return room == news.name


@app.on_request("divide", json=True)
async def divide(ws: WebSocket, numbers: list[float]) -> float:
    if numbers[1] == 0:
        raise RequestError("by_zero", "cannot divide by 0")
    return numbers[0] / numbers[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:8000", help="where to listen (%(default)s)")
    args = parser.parse_args()
    host, _, port = args.listen.rpartition(":")
    print(f"Listening on {args.listen}", flush=True)
    app.run(host, int(port))


if __name__ == "__main__":
    main()
