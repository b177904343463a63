//! Groups: routers with a prefix, mounted on the app or on each other. `cargo run --example groups`.
//!
//! The same in Python:
//!
//! ```python
//! chat_group = WSRouter(prefix="/chat")
//!
//! @chat_group.ws("/general")
//! async def general_chat(ws):
//!     await ws.accept()
//!
//! @chat_group.ws("/private")
//! async def private_chat(ws):
//!     await ws.accept()
//!
//! app.mount_ws_router(chat_group)
//! ```

use nexios::{App, WebSocket, WsRouter};

async fn general_chat(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.send_text("general").await?;
    ws.wait_closed().await;
    Ok(())
}

async fn private_chat(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.send_text("private").await?;
    ws.wait_closed().await;
    Ok(())
}

/// Parameters are typed where they are used.
async fn ticket(ws: WebSocket) -> nexios::Result {
    let number: u32 = ws.path_param("number")?;
    ws.accept().await?;
    ws.send_text(format!("ticket {number} of {}", ws.route_path())).await?;
    ws.wait_closed().await;
    Ok(())
}

fn main() -> Result<(), nexios::StartError> {
    // Prefixes of nested routers concatenate: /chat/support/{number}.
    let support = WsRouter::with_prefix("/support").ws("/{number:int}", ticket);
    let chat_group =
        WsRouter::with_prefix("/chat").ws("/general", general_chat).ws("/private", private_chat).mount(support);
    println!("ws://127.0.0.1:8000/chat/general, /chat/private and /chat/support/17");
    App::new().mount(chat_group).run("127.0.0.1:8000")
}
