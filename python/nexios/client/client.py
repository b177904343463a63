"""Clients: connections that reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from nexios.client.addresses import Address, Addresses, Protocols, Token
from nexios.client.dialogue import Dialogue
from nexios.client.driver import State
from nexios.client.events import (
    Closed,
    Gap,
    Joined,
    Left,
    Message,
    Opened,
    Parked,
    PresenceChange,
    Reconnecting,
    Unauthorized,
)
from nexios.client.frames import ROOMS_MAX, frame, is_marked
from nexios.client.inbox import on
from nexios.client.room import Room
from nexios.client.session import Session
from nexios.client.subscription import Subscription
from nexios.client.values import Bigint, check_room, check_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Client", "connect"]

_EVENTS = ("open", "close", "reconnecting", "parked", "unauthorized", "message", "joined", "gap", "error")

# RFC 6455 5.5: a control frame has 125 bytes at most, two of them for the code.
_REASON_BYTES_MAX = 123

_OnOpen = TypeVar("_OnOpen", bound=Callable[[Opened], object])
_OnClose = TypeVar("_OnClose", bound=Callable[[Closed], object])
_OnReconnecting = TypeVar("_OnReconnecting", bound=Callable[[Reconnecting], object])
_OnParked = TypeVar("_OnParked", bound=Callable[[Parked], object])
_OnUnauthorized = TypeVar("_OnUnauthorized", bound=Callable[[Unauthorized], object])
_OnMessage = TypeVar("_OnMessage", bound=Callable[[Any], object])
_OnJoined = TypeVar("_OnJoined", bound=Callable[[Room, Joined], object])
_OnGap = TypeVar("_OnGap", bound=Callable[[Gap], object])
_OnError = TypeVar("_OnError", bound=Callable[[Exception], object])


def connect(
    url: Address | Sequence[Address],
    *,
    token: Token = None,
    protocols: Protocols = (),
    json: bool = False,
    bigint: Bigint = "error",
    storage: MutableMapping[str, str] | None = None,
    open_timeout: float = 10,
    request_timeout: float = 10,
    stable_after: float = 10,
    retry_first: bool = True,
    user_agent: str | None = None,
    **options: Any,
) -> Client:
    """Returns a client of the server at this address; ``async with`` connects it, and closes it at the end.

    :param url: an address, or several of nodes of one application: the first is tried first, and the next after each
        loss and each failed attempt. Each may be a function, which may be a coroutine function: it is called before
        each attempt.
    :param token: a token, offered as the subprotocols ``bearer`` and itself, where ``ws.bearer_token`` finds it; a
        function, which may be a coroutine function, is called before each attempt. If the server refuses its token
        (401, 4401), it is called once more at once.
    :param protocols: further subprotocols to offer, or a function as that of a token.
    :param json: every text is a JSON value, in both directions. Otherwise texts are sent as they are, other values as
        JSON.
    :param bigint: whole numbers beyond 2^53, which readers with doubles would read as others: ``"error"`` raises
        ``ValueError`` at the call, ``"string"`` sends their digits as a text.
    :param storage: a mapping for positions, by room, such as a ``shelve``: the next run continues from them.
    :param open_timeout: seconds until an attempt without an answer is given up.
    :param request_timeout: seconds for a request until its answer, unless the call sets another time.
    :param stable_after: seconds after which a connection counts as one that holds, so that delays start over.
    :param retry_first: True if the first connection is retried like any other. With False the client parks once each
        address has failed; :meth:`Client.reconnect` tries each once more.
    :param user_agent: a name that is sent to the server.
    :param options: further options of ``websockets.connect``, such as ``ssl``, ``proxy``, ``max_size``.

    It connects when the body first waits, so that handlers which are added before that miss nothing. It reconnects
    until it is closed, or parked by an end that the server means to be final.

    >>> async with connect("ws://localhost:8000/live", token="letmein") as client:
    ...     @client.on("joined")
    ...     def entered(room, joined):
    ...         print(room.name, joined.recovered)
    """
    if bigint not in ("error", "string"):
        raise ValueError(f'invalid bigint {bigint!r}: must be "error" or "string"')
    if "subprotocols" in options:
        raise TypeError("invalid option subprotocols: they are given as protocols")
    if user_agent is not None:
        check_text("user_agent", user_agent)
    session = Session(
        Addresses(url, protocols, token),
        is_json=json,
        bigint=bigint,
        storage=storage,
        open_timeout=open_timeout,
        request_timeout=request_timeout,
        stable_after=stable_after,
        retry_first=retry_first,
        user_agent=user_agent,
        options=options,
    )
    return Client(session)


class Client:
    """A client, from :func:`connect`.

    >>> client
    <Client ws://... open>
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._driver = session.driver

    @property
    def state(self) -> State:
        """The state: ``connecting``, ``open``, ``reconnecting`` (the connection is lost, or an attempt has failed, and
        there is another one), ``parked`` (no attempt until :meth:`reconnect`) or ``closed``.

        >>> client.state
        'open'
        """
        return self._driver.state

    @property
    def id(self) -> str | None:
        """The connection's id at the server, once it has been open.

        >>> client.id
        'c1'
        """
        return self._session.id

    @property
    def url(self) -> str:
        """The address of the connection or attempt; empty before a function has returned it.

        >>> client.url.startswith("ws://")
        True
        """
        return self._session.addresses.url

    @overload
    def on(self, event: Literal["open"]) -> Callable[[_OnOpen], _OnOpen]: ...
    @overload
    def on(self, event: Literal["close"]) -> Callable[[_OnClose], _OnClose]: ...
    @overload
    def on(self, event: Literal["reconnecting"]) -> Callable[[_OnReconnecting], _OnReconnecting]: ...
    @overload
    def on(self, event: Literal["parked"]) -> Callable[[_OnParked], _OnParked]: ...
    @overload
    def on(self, event: Literal["unauthorized"]) -> Callable[[_OnUnauthorized], _OnUnauthorized]: ...
    @overload
    def on(self, event: Literal["message"]) -> Callable[[_OnMessage], _OnMessage]: ...
    @overload
    def on(self, event: Literal["joined"]) -> Callable[[_OnJoined], _OnJoined]: ...
    @overload
    def on(self, event: Literal["gap"]) -> Callable[[_OnGap], _OnGap]: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[_OnError], _OnError]: ...
    def on(self, event: str) -> Callable[[Any], Any]:
        """Adds a handler, a function or a coroutine function. Events are handled one after another.

        ``open`` (:class:`Opened`), ``close`` (:class:`Closed`), ``reconnecting`` (:class:`Reconnecting`), ``parked``
        (:class:`Parked`), ``unauthorized`` (:class:`Unauthorized`), ``message`` (what the server sent to this
        connection, and broadcasts to routers and the app), ``joined`` (the :class:`Room` and :class:`Joined`, before
        the room's messages), ``gap`` (:class:`Gap`), ``error`` (an exception of a handler or a function for a token, a
        storage that refuses, a text that is not JSON; without a handler it is logged).

        >>> @client.on("close")
        ... def over(closed):
        ...     print(closed.kind, closed.retry)
        """
        return on(self._session.handlers, event, _EVENTS)

    def off(self, event: str, handler: Callable[..., object]) -> None:
        """Removes a handler.

        >>> @client.on("open")
        ... def show(opened): ...
        >>> client.off("open", show)
        """
        self._session.handlers.remove(event, handler)

    def room(self, name: str) -> Room:
        """Returns the room of this name, one object for each name; ``ValueError`` if 1,000 are in use.

        >>> client.room("general").name
        'general'
        """
        room = self._session.rooms.get(check_room(name)) or self._session.add_room(name)
        if room is None:
            raise ValueError(f"a client has at most {ROOMS_MAX} rooms")
        return room

    def subscribe(
        self,
        room: str,
        *,
        join: bool = True,
        joined: Callable[[Joined], object] | None = None,
        left: Callable[[Left], object] | None = None,
        message: Callable[[Message], object] | None = None,
        reset: Callable[[], object] | None = None,
        gap: Callable[[Gap], object] | None = None,
        presence: Callable[[PresenceChange], object] | None = None,
    ) -> Subscription:
        """Joins a room for one component, with handlers of its own; call the returned subscription to stop it.

        The client stays in the room while a subscription is active, or until ``room.leave()`` if ``room.join()`` was
        called. If the server refuses, ``left`` has the code. Without ``join`` only the handlers are added, for a room
        that the server joins.

        >>> stop = client.subscribe("general", message=lambda message: print(message.data))
        >>> stop()
        """
        named = {"joined": joined, "left": left, "message": message, "reset": reset, "gap": gap, "presence": presence}
        handlers = {event: handler for event, handler in named.items() if handler is not None}
        return Subscription(self.room(room), handlers, join)

    async def send(self, data: Any) -> bool:
        """Sends to the server's handler, at most once; returns ``False`` without a connection.

        >>> await client.send({"typing": True})
        True
        """
        payload = self._session.encode(data)
        message = frame(None, payload) if is_marked(payload) else payload
        dialogue = self._driver.dialogue
        if self.state != "open" or dialogue is None:
            return False
        error = self._session.calls.check(len(message.encode() if isinstance(message, str) else message))
        if error is not None:
            raise error
        return await dialogue.send(message, self._session.calls.resumed)

    async def request(self, method: str, data: Any = None, *, timeout: float | None = None) -> Any:
        """Sends a request, and returns its reply: text or bytes, with ``json`` a value.

        Raises ``NexiosError`` without a reply in ``timeout`` seconds (``request_timeout`` of :func:`connect`). A
        request that was sent is not repeated after a reconnect. Raises ``TypeError`` or ``ValueError`` if the data
        cannot be sent.

        >>> await client.request("sum", [1, 2])
        3
        """
        session = self._session
        payload = "" if data is None else session.encode(data)
        timeout = session.request_timeout if timeout is None else timeout
        members = {"method": check_text("method", method)}
        _, reply = await session.calls.ask("request", members, payload, timeout=timeout)
        return session.decode(reply)

    def drop(self, *, away: bool = False) -> None:
        """Cuts the connection as a pulled cable does; with ``away`` the client reconnects by :meth:`reconnect` only.

        >>> client.drop()
        """
        self._driver.drop(away)

    def reconnect(self) -> None:
        """Makes the next attempt now, for a parked client too.

        >>> client.reconnect()
        """
        self._driver.reconnect()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the client for good. A running handler is cancelled, and its position is not stored.

        >>> await client.close()
        >>> client.state
        'closed'
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"invalid code {code}: a client closes with 1000, or 3000 to 4999")
        if (size := len(check_text("reason", reason).encode())) > _REASON_BYTES_MAX:
            raise ValueError(f"invalid reason: has {size} bytes, must have at most {_REASON_BYTES_MAX}")
        driver, session = self._driver, self._session
        if driver.task is None:
            driver.state = "closed"
            return
        current = asyncio.current_task()
        is_handler = any(inbox.is_run_by(current) for inbox in session.inboxes())
        if driver.closed is None:
            session.closer = current if is_handler else None
            driver.close(code, reason)
            session.is_caught_up.set()
        elif is_handler:
            return
        await asyncio.wait([driver.task])

    async def wait_closed(self) -> Closed:
        """Waits until the client is closed, by :meth:`close` or the end of ``async with``. A parked client is not.

        >>> await client.wait_closed()
        Closed(code=1000, reason='', retry=False, kind='normal')
        """
        if self._driver.task is None:
            raise RuntimeError("the client has not been started: async with connect(...) as client")
        await asyncio.wait([self._driver.task])
        assert self._driver.closed is not None
        return self._driver.closed

    async def __aenter__(self) -> Self:
        if self._driver.task is not None or self.state == "closed":
            raise RuntimeError("a client is started once")
        self._driver.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url.split('?')[0]} {self.state}>"

    @property
    def _dialogue(self) -> Dialogue | None:
        return self._driver.dialogue
