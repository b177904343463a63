"""The synchronous client of `websockets`, which over TLS now and then fails by itself.

Its thread reads from its TLS object while ours writes to it, and CPython before 3.13 does not keep the two apart: about
one connection in 2,000 ends with an internal error of OpenSSL, or misses the answer to its handshake, against any
server, that of `websockets` included. Then it connects once more.
"""

import ssl

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as connect_once
from websockets.sync.client import unix_connect

ATTEMPTS = 3


def connect(url, uds=None, **options):
    """Opens a connection to a URL, through a Unix socket if one is named."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if uds:
                return unix_connect(str(uds), url, **options)
            return connect_once(url, proxy=None, open_timeout=5, **options)
        except (ConnectionClosedError, TimeoutError) as error:
            if attempt == ATTEMPTS or not (options.get("ssl") and _is_of_the_client(error)):
                raise


def _is_of_the_client(error):
    if isinstance(error, TimeoutError):
        return "handshake response" in str(error)
    return isinstance(error.__cause__, ssl.SSLError) and "internal error" in str(error.__cause__)
