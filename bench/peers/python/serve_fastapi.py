"""FastAPI on uvicorn, after the chapter on WebSockets of its documentation."""

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from listening import options

app = FastAPI()


class ConnectionManager:
    """Of the documentation; binary messages are added."""

    def __init__(self):
        self.active_connections = []

    async def connect(self, websocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket):
        self.active_connections.remove(websocket)

    async def broadcast(self, message):
        for connection in list(self.active_connections):
            try:
                await send(connection, message)
            except (WebSocketDisconnect, RuntimeError):
                # It has gone, and takes itself out.
                continue


everybody = ConnectionManager()
everybody_deflated = ConnectionManager()
subscribers = ConnectionManager()


async def receive(websocket):
    event = await websocket.receive()
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event["code"])
    return event.get("text") if event.get("text") is not None else event["bytes"]


async def send(websocket, message):
    if isinstance(message, str):
        await websocket.send_text(message)
    else:
        await websocket.send_bytes(message)


@app.websocket("/echo")
@app.websocket("/deflate")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await send(websocket, await receive(websocket))
    except WebSocketDisconnect:
        pass


async def chat(websocket, manager):
    await manager.connect(websocket)
    try:
        while True:
            await manager.broadcast(await receive(websocket))
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(websocket)


@app.websocket("/bcast")
async def broadcast(websocket: WebSocket):
    await chat(websocket, everybody)


@app.websocket("/bcast-deflate")
async def broadcast_deflated(websocket: WebSocket):
    await chat(websocket, everybody_deflated)


@app.websocket("/pub")
async def publish(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await subscribers.broadcast(await receive(websocket))
    except WebSocketDisconnect:
        pass


@app.websocket("/sub")
async def subscribe(websocket: WebSocket):
    await subscribers.connect(websocket)
    try:
        while True:
            await receive(websocket)
    except WebSocketDisconnect:
        pass
    finally:
        subscribers.disconnect(websocket)


chosen = options(__doc__)
uvicorn.run(app, host=chosen.host, port=chosen.port, http="httptools", loop="uvloop", log_level="warning")
