"""What mypy lets pass of `nexios.client`, and what it has to refuse: no ignore is left over."""

import shelve

from nexios.client import Closed, Gap, Joined, Member, Message, NexiosError, Opened, PresenceChange, Room, connect


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
