//! Errors: raised with `?`, handled by type, nearest first. `cargo run --example errors`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.exception_handler(WebSocketException)
//! async def handle_ws_error(ws, exc):
//!     await ws.close(code=1011, reason=str(exc))
//!
//! @ws_router.ws("/chat")
//! async def chat(ws):
//!     try:
//!         await ws.accept()
//!         # Chat logic...
//!     except Exception as e:
//!         await ws.close(code=1011, reason=str(e))
//! ```

use std::num::ParseIntError;

use nexios::{App, CloseCode, WebSocket, WebSocketException, WsRouter};

async fn handle_ws_error(ws: WebSocket, exc: WebSocketException) -> nexios::Result {
    ws.close(CloseCode::INTERNAL_ERROR, exc.to_string()).await?;
    Ok(())
}

/// Every error type can have a handler of its own.
async fn handle_bad_number(ws: WebSocket, error: ParseIntError) -> nexios::Result {
    ws.close(1007, format!("not a number: {error}")).await?;
    Ok(())
}

/// `?` takes any error; without a handler it would close 1011 and be logged.
async fn square(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let number: i32 = ws.receive_text().await?.parse()?;
        let square = number.checked_mul(number).ok_or_else(|| WebSocketException::from("that number is too large"))?;
        ws.send_json(&square).await?;
    }
}

/// Caught on the spot.
async fn chat(ws: WebSocket) -> nexios::Result {
    if let Err(error) = talk(&ws).await {
        ws.close(1011, error.to_string()).await?;
    }
    Ok(())
}

async fn talk(ws: &WebSocket) -> nexios::Result {
    ws.accept().await?;
    let (name, text): (String, String) = ws.receive_json().await?;
    ws.send_text(format!("{name} says {text}")).await?;
    Ok(())
}

fn main() -> Result<(), nexios::StartError> {
    let ws_router = WsRouter::new()
        .exception_handler::<WebSocketException, _>(handle_ws_error)
        .exception_handler::<ParseIntError, _>(handle_bad_number)
        .ws("/square", square)
        .ws("/chat", chat);
    println!("ws://127.0.0.1:8000/square and /chat");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
