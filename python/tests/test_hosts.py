"""Connections per host, where the clients come through a proxy."""

import asyncio

import pytest
from apps import app_with, echo
from nexios import NexiosApp
from raw_client import AsyncRawClient, request
from serving import until


async def statuses_of(dial, clients):
    """Status by status, what a handshake of each of these clients is answered with; all stay connected."""
    connected = [(await dial(), client) for client in clients]
    for wire, client in connected:
        wire.send(request(X_Forwarded_For=client))
        if await wire.read_head() == 503:
            assert "retry-after" in wire.headers
    return [wire.status for wire, _ in connected]


async def test_clients_of_a_trusted_proxy_count_for_themselves(serve, caplog):
    settings = {"connections_per_host_max": 1, "trusted_proxies": "127.0.0.1"}
    async with serve(app_with(echo, settings=settings)) as server:
        clients = ["1.2.3.4", "1.2.3.4", "5.6.7.8", "2001:db8::1", "2001:db8::2", "unknown", "\xff"]
        assert await statuses_of(server.dial, clients) == [101, 503, 101, 101, 503, 101, 503]
        assert "connections_per_host_max" in caplog.text
        assert "1.2.3.4" in caplog.text
        server.forget()
        await until(lambda: server._app.metrics().connections == 0, "the end of all connections")
        assert await statuses_of(server.dial, clients[:2]) == [101, 503]


async def test_clients_of_a_proxy_on_a_unix_socket_count_for_themselves(tmp_path):
    path = tmp_path / "ws.sock"
    opened = []

    async def dial():
        opened.append(AsyncRawClient(*await asyncio.open_unix_connection(str(path))))
        return opened[-1]

    app = app_with(echo, settings={"connections_per_host_max": 1, "trusted_proxies": "unix"})
    task = asyncio.ensure_future(app.serve(uds=str(path)))
    await until(path.exists, "the socket")
    assert await statuses_of(dial, ["1.2.3.4", "1.2.3.4", "5.6.7.8", "", ""]) == [101, 503, 101, 101, 503]
    for client in opened:
        client.cut()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("proxies", ["unixx", ["u", "n"], ["10.0.0.0/33"]])
def test_what_is_no_proxy_is_an_error(proxies):
    with pytest.raises(ValueError, match="invalid trusted proxy"):
        NexiosApp(trusted_proxies=proxies)
