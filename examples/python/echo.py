"""Echoes every message on `/` and `/echo`: text as text, binary as binary.

`python examples/python/echo.py --listen 127.0.0.1:9001`
"""

import argparse
import logging
import sys

from nexios import NexiosApp, WebSocket
from nexios.settings import CompressionSettings

# Messages on their own: an idle connection holds no window. Messages that build on each other are
# smaller, at some 150 KiB for each connection. Or declined.
COMPRESSION: dict[str, CompressionSettings | bool] = {
    "no-takeover": True,
    "takeover": {"context_takeover": True},
    "off": False,
}


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    ws.enable_compression()
    async for message in ws:
        await ws.send(message)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A WebSocket server that echoes every message")
    parser.add_argument("--listen", default="127.0.0.1:9001", help="where to listen (%(default)s)")
    parser.add_argument("--uds", metavar="PATH", help="listen on this Unix socket instead")
    parser.add_argument("--max-message", type=int, default=1 << 20, metavar="BYTES", help="largest message")
    parser.add_argument("--max-fragments", type=int, default=1024, metavar="N", help="most fragments of a message")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"), help="PEM files of a certificate chain and its key")
    parser.add_argument("--compression", choices=COMPRESSION, default="no-takeover", help="how it is negotiated")
    parser.add_argument(
        "--loop", choices=("auto", "asyncio", "uvloop"), default="auto", help="event loop (%(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    logging.basicConfig()
    app = NexiosApp(
        message_bytes_max=args.max_message,
        fragments_max=args.max_fragments,
        compression=COMPRESSION[args.compression],
    )
    app.ws("/")(echo)
    app.ws("/echo")(echo)

    host, _, port = args.listen.rpartition(":")
    certificate, key = args.tls or (None, None)
    print(f"echo on {args.uds or args.listen}", flush=True)
    try:
        app.run(host, int(port), uds=args.uds, loop=args.loop, ssl_certfile=certificate, ssl_keyfile=key)
    except OSError as error:
        sys.exit(f"Error: {error.strerror}")


if __name__ == "__main__":
    main()
