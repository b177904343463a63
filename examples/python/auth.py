"""Authentication before accept: by header, subprotocol, cookie or query. `python examples/python/auth.py`.

A refused client sees the code 1008 and the reason, also in a browser:
`new WebSocket("ws://127.0.0.1:8000/bearer", ["bearer", "wrong"])`.
"""

import hmac

from nexios import NexiosApp, WSRouter

ws_router = WSRouter()


@ws_router.ws("/secure")
async def secure_endpoint(ws):
    """As in the reference: the whole `Authorization` header."""
    token = ws.headers.get("Authorization")
    if not await validate_token(token):
        await ws.close(code=1008, reason="Invalid token")
        return

    await ws.accept()
    await secure_logic(ws)


async def bearer(ws, next):
    """`Authorization: Bearer secret`, or for browsers, which cannot set headers, the
    subprotocols `bearer, secret`. The token is never echoed.
    """
    return await require(ws, next, ws.bearer_token)


async def cookie(ws, next):
    """A cookie is sent by any page; that only pages of the same origin may connect makes it safe."""
    return await require(ws, next, ws.cookies.get("session"))


async def query(ws, next):
    """A URL ends up in logs: use tokens that are good for one use and for a short time."""
    return await require(ws, next, ws.query_params.get("token"))


async def require(ws, next, token):
    if not await validate_token(token):
        await ws.close(code=1008, reason="Invalid token")
        return
    return await next(ws)


async def validate_token(token):
    """Here a database would be asked."""
    return token is not None and hmac.compare_digest(token.encode(), b"secret")


@ws_router.ws("/bearer", middleware=[bearer])
@ws_router.ws("/cookie", middleware=[cookie])
@ws_router.ws("/query", middleware=[query])
async def secure(ws):
    await ws.accept()
    await secure_logic(ws)


async def secure_logic(ws):
    await ws.send_text("You are in")
    await ws.wait_closed()


app = NexiosApp()
app.mount_ws_router(ws_router)

if __name__ == "__main__":
    print('ws://127.0.0.1:8000/secure, /bearer, /cookie and /query; the token is "secret"')
    app.run()
