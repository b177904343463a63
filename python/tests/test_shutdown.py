"""The start and the end of a server: lifespan, signals, the grace period."""

import asyncio
import signal
import sys

import pytest
from apps import Log, app_with, stay
from nexios import NexiosApp
from serving import close_of

# --- shutdown


SHUTDOWN = """
import asyncio, sys
from nexios import NexiosApp

app = NexiosApp(shutdown_grace={grace})

@app.ws("/ws")
async def handler(ws):
    await ws.accept()
    await ws.send_text("ready")
    await ws.wait_closed()
    try:
        await asyncio.sleep({work})
        print("done", ws.close_code, flush=True)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

app.run(fd=int(sys.argv[1]), loop=sys.argv[2])
print("returned", flush=True)
"""


@pytest.mark.parametrize("grace, work, said", [(5, 0.2, "done 1012"), (0.2, 60, "cancelled")])
async def test_shutdown_closes_1012_waits_for_handlers_then_cancels(listening, loop_name, grace, work, said):
    source = SHUTDOWN.format(grace=grace, work=work)
    fd = listening.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, str(fd), loop_name, pass_fds=[fd], stdout=asyncio.subprocess.PIPE
    )
    try:
        async with nexios_client(listening.getsockname()[1]) as ws:
            assert await ws.recv() == "ready"
            process.send_signal(signal.SIGTERM)
            assert (await close_of(ws))[0] == 1012
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output.decode().splitlines() == [said, "returned"]
    assert process.returncode == 0


async def test_a_second_signal_ends_it_at_once(listening, loop_name):
    source, fd = SHUTDOWN.format(grace=60, work=60), listening.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, str(fd), loop_name, pass_fds=[fd], stdout=asyncio.subprocess.PIPE
    )
    try:
        async with nexios_client(listening.getsockname()[1]) as ws:
            assert await ws.recv() == "ready"
            process.send_signal(signal.SIGINT)
            assert (await close_of(ws))[0] == 1012
            process.send_signal(signal.SIGINT)
            output, _ = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output.decode().splitlines() == ["cancelled", "returned"]
    assert process.returncode == 0


async def test_a_handshake_without_an_answer_is_503_at_shutdown(serve):
    stop, begun = asyncio.Event(), asyncio.Event()

    async def handler(ws):
        begun.set()
        await asyncio.sleep(0.2)

    async with serve(app_with(handler), stop=stop) as server:
        refusal = asyncio.ensure_future(server.refusal())
        await begun.wait()
        stop.set()
        assert (await refusal).status_code == 503


def nexios_client(port):
    from websockets.asyncio.client import connect

    return connect(f"ws://127.0.0.1:{port}/ws", proxy=None, compression=None)


async def test_the_end_of_serve_cancels_what_is_left(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.send_text("ready")
        try:
            await asyncio.Event().wait()
        finally:
            log("out")

    async with serve(app_with(handler)) as server:
        ws = await server.connect()
        assert await ws.recv() == "ready"
        await server.stop()
        await log.has(1)
        await close_of(ws)


# --- registration


async def test_startup_and_shutdown_run_around_serving(serve):
    log = Log()
    app = app_with(stay)

    @app.on_startup
    async def start():
        log("startup")

    @app.on_shutdown
    async def stop():
        log("shutdown")

    async with serve(app) as server:
        async with server.connect() as ws:
            assert await ws.recv() == "ready"
            assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]


async def test_a_lifespan_runs_around_serving(serve):
    from contextlib import asynccontextmanager

    log = Log()

    @asynccontextmanager
    async def lifespan(app):
        log("startup")
        yield
        log("shutdown")

    app = NexiosApp(lifespan=lifespan)
    app.ws("/ws")(stay)
    async with serve(app) as server, server.connect() as ws:
        assert await ws.recv() == "ready"
        assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]
