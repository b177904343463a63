"""Pages of a FastAPI app on the same port as the WebSockets.

`pip install fastapi`, `python examples/python/asgi.py`, then open http://127.0.0.1:8000.
"""

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse
from nexios import NexiosApp

PAGE = """<!doctype html>
<title>nexios and FastAPI</title>
<input autofocus placeholder="say something"> <pre></pre>
<script>
  const socket = new WebSocket(`ws://${location.host}/ws`);
  const [input, output] = [document.querySelector("input"), document.querySelector("pre")];
  socket.onmessage = event => { output.textContent += event.data + "\\n"; };
  input.onchange = () => { socket.send(input.value); input.value = ""; };
</script>"""

pages = FastAPI()
app = NexiosApp(http=pages)


@pages.get("/", response_class=HTMLResponse)
async def index():
    return PAGE


@pages.get("/say/{text}", response_class=PlainTextResponse)
async def say(text: str):
    """An HTTP handler broadcasts to the WebSockets."""
    return f"{await app.broadcast(text)} heard it\n"


@app.ws("/ws")
async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


if __name__ == "__main__":
    print("http://127.0.0.1:8000, and http://127.0.0.1:8000/say/hello")
    app.run()
