//! Pages of an axum `Router` on the same port as the WebSockets: `cargo run --example axum`,
//! then open http://127.0.0.1:8000.
//!
//! The same in Python, where the app itself has the routes:
//!
//! ```python
//! @app.get("/")
//! async def index(request, response):
//!     return response.html(PAGE)
//!
//! @ws_router.ws("/ws")
//! async def echo(ws):
//!     await ws.accept()
//!     async for text in ws.iter_text():
//!         await ws.send_text(text)
//! ```

use axum::Router;
use axum::extract::Path;
use axum::response::Html;
use axum::routing::get;
use nexios::{App, RouterHandle, WebSocket};

const PAGE: &str = r#"<!doctype html>
<title>nexios and axum</title>
<input autofocus placeholder="say something"> <pre></pre>
<script>
  const socket = new WebSocket(`ws://${location.host}/ws`);
  const [input, output] = [document.querySelector("input"), document.querySelector("pre")];
  socket.onmessage = event => { output.textContent += event.data + "\n"; };
  input.onchange = () => { socket.send(input.value); input.value = ""; };
</script>"#;

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let mut messages = ws.iter_text();
    while let Some(text) = messages.next().await {
        ws.send_text(text?).await?;
    }
    Ok(())
}

/// An HTTP handler broadcasts through a handle.
async fn say(app: RouterHandle, text: String) -> String {
    let outcome = app.broadcast(&*text).await;
    format!("{} heard it\n", outcome.count)
}

fn main() -> Result<(), nexios::StartError> {
    let app = App::new().ws("/ws", echo);
    let handle = app.handle();
    let pages = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/say/{text}", get(async move |Path(text): Path<String>| say(handle, text).await));
    println!("http://127.0.0.1:8000, and http://127.0.0.1:8000/say/hello");
    app.fallback_service(pages).run("127.0.0.1:8000")
}
