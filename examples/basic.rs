//! Basic setup and the life of a connection: `cargo run --example basic`, then connect to
//! ws://127.0.0.1:8000/ws.
//!
//! The same in Python:
//!
//! ```python
//! ws_router = WSRouter()
//!
//! @ws_router.ws("/ws")
//! async def websocket_endpoint(ws):
//!     await ws.accept()
//!     await ws.send_text("Connected!")
//!
//!     while True:
//!         data = await ws.receive_text()
//!         await ws.send_text(f"Echo: {data}")
//!
//! # Close connection
//! await ws.close(code=1000, reason="Normal closure")
//!
//! # Check connection state
//! if ws.state == WebSocketState.CONNECTED:
//!     pass
//! ```

use nexios::{App, ConnectionState, WebSocket, WsRouter};

async fn websocket_endpoint(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.send_text("Connected!").await?;

    // Ends with an error as soon as the client is gone; that is a normal end.
    while ws.connection_state() == ConnectionState::Connected {
        let data = ws.receive_text().await?;
        if &*data == "bye" {
            ws.close(1000, "Normal closure").await?;
            break;
        }
        ws.send_text(format!("Echo: {data}")).await?;
    }
    Ok(())
}

fn main() -> Result<(), nexios::StartError> {
    let ws_router = WsRouter::new().ws("/ws", websocket_endpoint);
    println!("ws://127.0.0.1:8000/ws");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
