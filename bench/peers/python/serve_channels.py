"""Django Channels with either of its layers over Redis, served by uvicorn: one node of two."""

import django
import uvicorn
from django.conf import settings
from listening import options

ROOM = "bench"
LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}

chosen = options(__doc__, ("--layer", list(LAYERS)), broker=True)
settings.configure(
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={"default": {"BACKEND": LAYERS[chosen.layer], "CONFIG": {"hosts": [chosen.broker]}}},
    INSTALLED_APPS=["channels"],
)
django.setup()

# They read the settings.
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Listener(AsyncWebsocketConsumer):
    """`/room`: hears what is said in the room, on whichever node."""

    groups = [ROOM]

    async def room_message(self, event):
        await self.send(text_data=event["text"])


class Publisher(AsyncWebsocketConsumer):
    """`/publish`: every message to all who are in the room."""

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send(ROOM, {"type": "room.message", "text": text_data})


routes = URLRouter([path("room", Listener.as_asgi()), path("publish", Publisher.as_asgi())])
uvicorn.run(
    ProtocolTypeRouter({"websocket": routes}),
    host=chosen.host,
    port=chosen.port,
    http="httptools",
    lifespan="off",
    loop="uvloop",
    log_level="warning",
)
