"""python-socketio with its Redis manager, served by uvicorn: one node of two."""

import socketio
import uvicorn
from listening import options

ROOM = "bench"

chosen = options(__doc__, broker=True)
sio = socketio.AsyncServer(
    async_mode="asgi", transports=["websocket"], client_manager=socketio.AsyncRedisManager(chosen.broker)
)


@sio.event
async def join(sid):
    await sio.enter_room(sid, ROOM)


@sio.event
async def publish(_sid, text):
    await sio.emit("message", text, room=ROOM)


uvicorn.run(
    socketio.ASGIApp(sio), host=chosen.host, port=chosen.port, http="httptools", loop="uvloop", log_level="warning"
)
