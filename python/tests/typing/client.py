"""What mypy lets pass of `nexios.client`, and what it has to refuse: no ignore is left over."""

import shelve

from nexios.client import (
    Closed,
    Gap,
    Joined,
    Member,
    Message,
    NexiosError,
    Opened,
    Parked,
    PresenceChange,
    Room,
    Subscription,
    Unauthorized,
    connect,
)


async def main() -> None:
    async with connect("wss://example.org", protocols=["bearer", "x"], json=True, storage=shelve.open("at")) as client:

        @client.on("open")
        def opened(event: Opened) -> None: ...

        @client.on("joined")
        async def entered(room: Room, joined: Joined) -> None: ...

        @client.on("close")
        def over(closed: Closed) -> None:
            print(closed.code + 1, closed.kind == "polite")  # type: ignore[comparison-overlap]

        room: Room = client.room("general")

        @room.on("message")
        async def received(message: Message) -> None: ...

        @room.on("reset")
        async def load() -> None: ...

        @room.on("presence")
        def change(change: PresenceChange) -> None: ...

        @room.on("gap")  # type: ignore[type-var]
        def another(message: Message) -> None: ...

        @room.on("news")  # type: ignore[call-overload,untyped-decorator]
        def news(gap: Gap) -> None: ...

        sent: bool = await client.send({"any": "value"})
        position: str | None = (await room.publish("hi", key="k")).position
        members: list[Member] = await room.presence()
        try:
            await client.request("sum", [1, 2], timeout=1)
        except NexiosError as error:
            print(error.code.upper(), sent, position, members)
        client.state = "open"  # type: ignore[misc]


async def token() -> str:
    return "letmein"


async def asked() -> None:
    async with connect(lambda: "wss://example.org", token=token, bigint="string", stable_after=5) as client:

        @client.on("parked")
        def parked(event: Parked) -> None:
            print(event.code + 1, event.kind)

        @client.on("unauthorized")
        async def unauthorized(event: Unauthorized) -> None:
            client.reconnect()

        async with client.subscribe("general", message=lambda message: print(message.data)) as subscription:
            position: str | None = subscription.room.position
            print(position)
        stop: Subscription = client.subscribe("general", joined=lambda joined: None, join=False)
        stop()
        client.subscribe("general", message=lambda: None)  # type: ignore[arg-type,misc]
        connect("wss://example.org", bigint="float")  # type: ignore[arg-type]
