"""Apps that write down what they see."""


def listened(app, log):
    """Logs what the listeners of connections see."""

    @app.on("connect")
    async def connected(ws):
        log("connect")

    @app.on("disconnect")
    async def disconnected(ws):
        log(("disconnect", ws.close_code, ws.close_reason))

    return app
