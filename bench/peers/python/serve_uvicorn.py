"""uvicorn with either of its WebSocket protocols; it compresses for every client that offers it."""

import uvicorn
from listening import options

# websockets-sansio is what uvicorn takes by itself where websockets is installed.
chosen = options(__doc__, ("--protocol", ["websockets-sansio", "websockets", "wsproto"]))
uvicorn.run(
    "asgi_app:app",
    host=chosen.host,
    port=chosen.port,
    http="httptools",
    loop="uvloop",
    ws=chosen.protocol,
    log_level="warning",
)
