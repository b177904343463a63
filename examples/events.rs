//! Events: who comes, who goes, what is said. `cargo run --example events`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.on("connect")
//! async def on_connect(ws):
//!     print(f"Client connected: {ws.client}")
//!
//! @ws_router.on("disconnect")
//! async def on_disconnect(ws):
//!     print(f"Client disconnected: {ws.client}")
//!
//! @ws_router.on("message")
//! async def on_message(ws, message):
//!     print(f"Received message: {message}")
//! ```

use nexios::{App, Message, WebSocket, WsRouter, request::Client};

async fn on_connect(ws: WebSocket) -> nexios::Result {
    println!("Client connected: {}", name(&ws));
    ws.send_text("Welcome").await?;
    Ok(())
}

async fn on_disconnect(ws: WebSocket) {
    println!("Client disconnected: {}, code {:?}", name(&ws), ws.close_code());
}

/// Sees each message before a handler receives it.
async fn on_message(ws: WebSocket, message: Message) {
    match message {
        Message::Text(text) => println!("Received message from {}: {text}", name(&ws)),
        Message::Binary(bytes) => println!("Received {} bytes from {}", bytes.len(), name(&ws)),
    }
}

/// Everything happens in the listeners.
async fn only_events(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

fn name(ws: &WebSocket) -> String {
    ws.client().as_ref().map_or_else(|| "somebody on a Unix socket".into(), Client::to_string)
}

fn main() -> Result<(), nexios::StartError> {
    let ws_router = WsRouter::new()
        .on_connect(on_connect)
        .on_disconnect(on_disconnect)
        .on_message(on_message)
        .ws("/ws", only_events);
    println!("ws://127.0.0.1:8000/ws");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
