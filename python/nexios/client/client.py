"""A connection that comes back."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from nexios._escaped import escaped
from nexios.client.calls import Answer, Calls
from nexios.client.dialogue import SUBPROTOCOL, Dialogue, Ending, check_url
from nexios.client.errors import NexiosError
from nexios.client.events import Closed, Gap, Joined, Opened, PresenceChange, Reconnecting, kind_of
from nexios.client.frames import ROOMS_MAX, Payload, encode_json, frame, header_text, is_marked
from nexios.client.inbox import Handlers, Inbox, Item, logger, on
from nexios.client.positions import Positions
from nexios.client.retry import Backoff, is_retried, window_of
from nexios.client.room import Room

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Client", "Protocols", "connect"]

_EVENTS = ("open", "close", "reconnecting", "message", "joined", "gap", "error")

Protocols: TypeAlias = Sequence[str] | Callable[[], Sequence[str] | Awaitable[Sequence[str]]]
State: TypeAlias = Literal["connecting", "open", "reconnecting", "closed"]

_OnOpen = TypeVar("_OnOpen", bound=Callable[[Opened], object])
_OnClose = TypeVar("_OnClose", bound=Callable[[Closed], object])
_OnReconnecting = TypeVar("_OnReconnecting", bound=Callable[[Reconnecting], object])
_OnMessage = TypeVar("_OnMessage", bound=Callable[[Any], object])
_OnJoined = TypeVar("_OnJoined", bound=Callable[[Room, Joined], object])
_OnGap = TypeVar("_OnGap", bound=Callable[[Gap], object])
_OnError = TypeVar("_OnError", bound=Callable[[Exception], object])


def connect(
    url: str | Sequence[str],
    *,
    protocols: Protocols = (),
    json: bool = False,
    storage: MutableMapping[str, str] | None = None,
    open_timeout: float = 10,
    user_agent: str | None = None,
    **options: Any,
) -> Client:
    """A client of the server at this address; ``async with`` connects it, and closes it at the end.

    :param url: an address, or several of nodes of one application: the first is tried first, and the next after each
        loss and each failed attempt.
    :param protocols: subprotocols to offer beside ``nexios.v1``, such as ``["bearer", token]``; a function, which may
        be a coroutine function, is asked before each attempt, for a token that is still good.
    :param json: every text is a value as JSON, both ways; otherwise texts are texts, and what is sent may be a value.
    :param storage: where positions are kept, by room, such as a ``shelve``: the next run goes on where this one was.
    :param open_timeout: seconds until an attempt without an answer is given up.
    :param user_agent: what the server is told.
    :param options: what ``websockets.connect`` takes beside these, such as ``ssl``, ``proxy`` and ``max_size``.

    It connects when the body first waits for something, so that handlers which are added before miss nothing. It comes
    back until it is closed.

    >>> async with connect("ws://localhost:8000/live", protocols=["bearer", "letmein"]) as client:
    ...     @client.on("joined")
    ...     def entered(room, joined):
    ...         print(room.name, joined.recovered)
    """
    return Client(url, protocols, json, storage, open_timeout, user_agent, options)


class Client:
    """What :func:`connect` gives.

    >>> client
    <Client ws://... open>
    """

    def __init__(
        self,
        url: str | Sequence[str],
        protocols: Protocols,
        json: bool,
        storage: MutableMapping[str, str] | None,
        open_timeout: float,
        user_agent: str | None,
        options: dict[str, Any],
    ) -> None:
        self._urls = (url,) if isinstance(url, str) else tuple(url)
        if not self._urls:
            raise ValueError("there is no address")
        for each in self._urls:
            check_url(each)
        self._turn = 0  # whose of them it is
        self._protocols = protocols
        self._json = json
        self._open_timeout = open_timeout
        self._user_agent = user_agent
        self._options = options
        self._state: State = "connecting"
        self._id: str | None = None
        self._handlers = Handlers(self._failed)
        self._inbox = Inbox(self._failed)
        self._rooms: dict[str, Room] = {}
        self._positions = Positions(storage)
        self._calls = Calls()
        self._backoff = Backoff()
        self._dialogue: Dialogue | None = None
        self._driver: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[Any] | None = None
        self._closed: Closed | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay = 0.0
        self._is_away = False
        self._is_called_back = False
        self._nudged = asyncio.Event()
        self._caught_up = asyncio.Event()

    @property
    def state(self) -> State:
        """``connecting``, ``open``, ``reconnecting`` (the connection is lost, or did not come about; there is another
        attempt) or ``closed``.

        >>> client.state
        'open'
        """
        return self._state

    @property
    def id(self) -> str | None:
        """The connection's id at the server, once it has been open.

        >>> client.id
        'c1'
        """
        return self._id

    @property
    def url(self) -> str:
        """Where it is connected, or tries to.

        >>> client.url.startswith("ws://")
        True
        """
        return self._urls[self._turn % len(self._urls)]

    @overload
    def on(self, event: Literal["open"]) -> Callable[[_OnOpen], _OnOpen]: ...
    @overload
    def on(self, event: Literal["close"]) -> Callable[[_OnClose], _OnClose]: ...
    @overload
    def on(self, event: Literal["reconnecting"]) -> Callable[[_OnReconnecting], _OnReconnecting]: ...
    @overload
    def on(self, event: Literal["message"]) -> Callable[[_OnMessage], _OnMessage]: ...
    @overload
    def on(self, event: Literal["joined"]) -> Callable[[_OnJoined], _OnJoined]: ...
    @overload
    def on(self, event: Literal["gap"]) -> Callable[[_OnGap], _OnGap]: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[_OnError], _OnError]: ...
    def on(self, event: str) -> Callable[[Any], Any]:
        """Adds a handler, a function or a coroutine function; what happens is handled one after another.

        ``open`` (:class:`Opened`), ``close`` (:class:`Closed`), ``reconnecting`` (:class:`Reconnecting`), ``message``
        (what the server sent to this connection, and broadcasts to routers and the app), ``joined`` (the
        :class:`Room` and :class:`Joined`, before the room's messages), ``gap`` (:class:`Gap`), ``error`` (an exception
        of a handler, a storage that refuses, a text that is no JSON; without a handler it is logged).

        >>> @client.on("close")
        ... def over(closed):
        ...     print(closed.kind, closed.retry)
        """
        return on(self._handlers, event, _EVENTS)

    def off(self, event: str, handler: Callable[..., object]) -> None:
        """Removes a handler.

        >>> @client.on("open")
        ... def show(opened): ...
        >>> client.off("open", show)
        """
        self._handlers.remove(event, handler)

    def room(self, name: str) -> Room:
        """The room of this name, the same each time. ``ValueError`` where 1,000 are in use.

        >>> client.room("general").name
        'general'
        """
        room = self._rooms.get(name) or self._add_room(name)
        if room is None:
            raise ValueError(f"a client has at most {ROOMS_MAX} rooms")
        return room

    async def send(self, data: Any) -> bool:
        """Sends to the server's handler, at most once: ``False`` where there is no connection.

        >>> await client.send({"typing": True})
        True
        """
        payload = self._encode(data)
        if self._state != "open" or self._dialogue is None:
            return False
        return await self._dialogue.send(frame(None, payload) if is_marked(payload) else payload)

    async def request(self, method: str, data: Any = None, *, timeout: float = 10) -> Any:
        """Asks the server, and gives its reply: text or bytes, with ``json`` a value.

        ``NexiosError`` where there is none; what was sent is not repeated after a reconnect.

        >>> await client.request("sum", [1, 2])
        3
        """
        payload = "" if data is None else self._encode(data)
        _, reply = await self._within(timeout, "request", {"method": method}, payload)
        return self._decode(reply)

    def drop(self, *, away: bool = False) -> None:
        """Cuts the connection as a pulled cable does; with ``away`` the client comes back by :meth:`reconnect` only.

        >>> client.drop()
        """
        if self._state == "closed" or self._driver is None:
            return
        self._is_away |= away
        self._nudged.set()
        if self._dialogue is not None:
            self._state = "reconnecting"
            self._dialogue.end(Ending(1006, "dropped"))

    def reconnect(self) -> None:
        """Makes the next attempt now.

        >>> client.reconnect()
        """
        if self._state == "reconnecting" and (self._dialogue is None or self._dialogue.is_over):
            self._is_called_back = True
            self._nudged.set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the client for good. A handler that runs is cancelled: what it had not handled comes again another time.

        >>> await client.close()
        >>> client.state
        'closed'
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError("a client closes with 1000, or 3000 to 4999")
        self._state = "closed"
        if self._driver is None:
            return
        current = asyncio.current_task()
        is_handler = any(inbox.is_run_by(current) for inbox in self._inboxes())
        if self._closed is None:
            self._closer = current if is_handler else None
            self._closed = Closed(code, reason, False, kind_of(code))
            self._nudged.set()
            self._caught_up.set()
            if self._dialogue is not None:
                self._dialogue.end(Ending(code, reason, retry=False, is_said=True))
        elif is_handler:
            return
        await asyncio.wait([self._driver])

    async def wait_closed(self) -> Closed:
        """Waits until the client has ended for good, and says why.

        >>> await client.wait_closed()
        Closed(code=1008, reason='enough', retry=False, kind='policy')
        """
        if self._driver is None:
            raise RuntimeError("the client has not been started: async with connect(...) as client")
        await asyncio.wait([self._driver])
        assert self._closed is not None
        return self._closed

    async def __aenter__(self) -> Self:
        if self._driver is not None or self._state == "closed":
            raise RuntimeError("a client is started once")
        self._driver = asyncio.create_task(self._drive())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url.split('?')[0]} {self._state}>"

    # --- connecting

    async def _drive(self) -> None:
        while self._closed is None:
            ending = await self._converse()
            if not self._after(ending):
                break
            await self._catch_up()
        self._state = "closed"
        self._calls.close()
        for task in list(self._tasks):
            task.cancel()
        for room in self._rooms.values():
            room._disconnected()
        for inbox in self._inboxes():
            await inbox.stop(self._closer)
        self._tell("close", self._closed)
        await self._inbox.finished(self._closer)

    async def _converse(self) -> Ending:
        dialogue = self._dialogue = Dialogue(self.url, self._open_timeout, self._options)
        try:
            return await dialogue.run(self._offered, self._hello, self._receive, self._calls.next)
        except Exception as error:
            self._failed(error)  # what `websockets.connect` does not take, say
            return Ending(1006, str(error))
        finally:
            self._dialogue = None

    async def _offered(self) -> list[str]:
        protocols = self._protocols
        if callable(protocols):
            try:
                asked = protocols()
                protocols = await asked if inspect.isawaitable(asked) else asked
            except Exception as error:
                self._failed(error)
                raise ConnectionError("there are no protocols") from error
        return [SUBPROTOCOL, *protocols]

    def _hello(self) -> Payload:
        """Where the client is, as far as it has received: what waits here is handled yet."""
        received = ((room.name, room._at) for room in self._rooms.values() if room._at is not None)
        header = {"type": "hello", "user_agent": self._user_agent}
        rooms = self._positions.for_hello(received, len(header_text(header).encode()) + len(',"rooms":{}'))
        return frame(header | {"rooms": rooms})

    def _after(self, ending: Ending) -> bool:
        """What follows from the end of a connection; whether there is another attempt."""
        if self._closed is not None:
            return False
        retry = is_retried(ending.code) if ending.retry is None else ending.retry
        kind = "refused" if ending.is_refusal else kind_of(ending.code)
        closed = Closed(ending.code, ending.reason, retry, kind)
        self._calls.disconnected()
        for room in self._rooms.values():
            room._disconnected()
        if not retry:
            self._closed = closed
            return False
        self._state = "reconnecting"
        self._turn += 1
        self._backoff.window = ending.window or self._backoff.window
        self._delay = self._backoff.delay(None if ending.is_announced else ending.code)
        self._tell("close", closed)
        return True

    async def _catch_up(self) -> None:
        """Until the next attempt."""
        if not self._is_away:
            self._tell("reconnecting", Reconnecting(self._backoff.attempt, self._delay))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._delay
        while not self._is_called_back and self._closed is None and (self._is_away or loop.time() < end):
            self._nudged.clear()
            timeout = None if self._is_away else end - loop.time()
            try:
                await asyncio.wait_for(self._nudged.wait(), timeout)
            except asyncio.TimeoutError:
                break
        self._is_called_back = self._is_away = False
        # Rooms that are behind catch up first, or what comes would not fit again.
        while self._closed is None and any(room._is_behind for room in self._rooms.values()):
            self._caught_up.clear()
            await self._caught_up.wait()

    # --- receiving

    def _receive(self, header: dict[str, Any] | None, payload: Payload) -> None:
        if header is None:
            self._take_message(payload)
            return
        kind, room = header.get("type"), header.get("room")
        if room is not None and kind in ("joined", "left", "message", "reset", "gap", "presence"):
            if isinstance(room, str):
                self._receive_of_room(str(kind), room, header, payload)
            return
        match kind:
            case "welcome":
                self._open(header)
            case "ack" | "reply":
                self._calls.answer(header, payload)
            case "error":
                self._calls.refuse(header)
            case "gap":
                self._miss(_number(header.get("missed")))

    def _receive_of_room(self, kind: str, name: str, header: dict[str, Any], payload: Payload) -> None:
        if kind == "joined":
            self._enter(name, header)
            return
        room = self._rooms.get(name)
        if room is None:
            return
        match kind:
            case "left":
                room._leave()
            case "message":
                room._receive(header, payload)
            case "reset":
                room._reset(header.get("position"))
            case "gap":
                room._miss(_number(header.get("missed")), _number(header.get("offset")))
            case "presence":
                if header.get("event") in ("join", "leave"):
                    room._change(PresenceChange(header["event"], str(header.get("user")), header.get("data")))

    def _open(self, header: dict[str, Any]) -> None:
        if self._state == "open":
            return
        self._id = str(header.get("id"))
        self._backoff.welcomed(window_of(header.get("retry_ms")))
        for room in self._rooms.values():
            room._rejoin()
        self._calls.joins_first()
        self._state = "open"
        self._tell("open", Opened(self._id))

    def _enter(self, name: str, header: dict[str, Any]) -> None:
        room = self._rooms.get(name) or self._add_room(name)
        if room is None:
            self._failed(ValueError(f"over {ROOMS_MAX} rooms: no place for {name}"))
            return
        joined = Joined(header.get("recovered") is True, "position" in header)
        entered = room
        room._enter(header.get("position"), joined, lambda: self._handlers.call("joined", entered, joined))

    def _take_message(self, payload: Payload) -> None:
        if self._inbox.is_full:
            self._inbox.miss(1, self._gap)
            return

        async def handle() -> bool:
            return await self._handlers.call("message", self._decode(payload))

        self._inbox.push(Item("message", handle, len(payload)))

    def _miss(self, missed: int | None) -> None:
        if self._inbox.is_full:
            self._inbox.miss(missed, self._gap)
        else:
            self._inbox.push(Item("gap", lambda: self._gap(missed), missed=missed))
        for room in self._rooms.values():
            if room._at is None:
                room._miss(missed)

    async def _gap(self, missed: int | None) -> bool:
        return await self._handlers.call("gap", Gap(missed))

    # --- for rooms

    async def _within(self, timeout: float, type: str, members: dict[str, Any], payload: Payload = "") -> Answer:
        try:
            return await asyncio.wait_for(self._calls.ask(type, lambda: members, payload), timeout)
        except asyncio.TimeoutError:
            raise NexiosError("timeout", "no answer came in time") from None

    def _position_of(self, room: Room) -> str | None:
        return self._positions.get(room.name) if room._at is None else str(room._at)

    def _fall_behind(self) -> None:
        if self._dialogue is not None:
            self._dialogue.end(Ending(1006, "a room is too far behind"))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, error: Exception) -> None:
        if self._handlers.has("error"):
            self._tell("error", error)
        else:
            logger.error("%s", escaped(str(error)), exc_info=error)

    def _tell(self, event: str, *values: object) -> None:
        # A handler that stands still does not let them grow without end.
        if not self._inbox.is_full or event == "close":
            self._inbox.push(Item(event, lambda: self._handlers.call(event, *values)))

    def _encode(self, data: Any) -> Payload:
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(data)
        return data if isinstance(data, str) and not self._json else encode_json(data)

    def _decode(self, payload: Payload) -> Any:
        return json.loads(payload) if self._json and isinstance(payload, str) and payload else payload

    def _inboxes(self) -> list[Inbox]:
        return [room._inbox for room in self._rooms.values()] + [self._inbox]

    def _add_room(self, name: str) -> Room | None:
        if len(self._rooms) >= ROOMS_MAX:
            self._rooms = {name: room for name, room in self._rooms.items() if not room._is_idle()}
        if len(self._rooms) >= ROOMS_MAX:
            return None
        room = self._rooms[name] = Room(self, name)
        return room


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
