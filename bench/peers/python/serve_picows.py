"""picows through its core interface, callbacks and all, after the project's own examples."""

import asyncio

import uvloop
from listening import options
from picows import WSCloseCode, WSListener, WSMsgType, WSUpgradeRequest, ws_create_server

PAYLOAD_BYTES_MAX = 1024 * 1024

everybody = set()
subscribers = set()


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            close(transport, frame)
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


class Publisher(WSListener):
    """Its messages go to the audience."""

    def __init__(self, audience):
        self.audience = audience

    def on_ws_frame(self, transport, frame):
        message_type = frame.msg_type
        if message_type == WSMsgType.CLOSE:
            close(transport, frame)
        elif not frame.fin or message_type == WSMsgType.CONTINUATION:
            # Fragments of several clients would be mixed.
            transport.send_close(WSCloseCode.UNSUPPORTED_DATA)
            transport.disconnect()
        else:
            payload = frame.get_payload_as_memoryview()
            for client in self.audience:
                client.send(message_type, payload)


class Chatter(Publisher):
    """One of the audience itself."""

    def on_ws_connected(self, transport):
        self.audience.add(transport)

    def on_ws_disconnected(self, transport):
        self.audience.discard(transport)


class Subscriber(Chatter):
    """Hears and says nothing."""

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            close(transport, frame)


def close(transport, frame):
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


ROUTES = {
    b"/echo": Echo,
    b"/bcast": lambda: Chatter(everybody),
    b"/pub": lambda: Publisher(subscribers),
    b"/sub": lambda: Subscriber(subscribers),
}


def listener(request: WSUpgradeRequest):
    route = ROUTES.get(request.path)
    return route and route()


async def main(host, port):
    server = await ws_create_server(
        listener, host, port, max_frame_size=PAYLOAD_BYTES_MAX + 14, enable_auto_ping=True, backlog=1024
    )
    await server.serve_forever()


chosen = options(__doc__)
uvloop.run(main(chosen.host, chosen.port))
