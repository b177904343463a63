//! Compression: agreed on in the handshake, used from `enable_compression()` on.
//! `cargo run --example compression`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.ws("/compressed")
//! async def compressed_endpoint(ws):
//!     await ws.accept()
//!     ws.enable_compression()
//!     # Compressed WebSocket logic...
//! ```

use nexios::{App, Compression, Route, WebSocket, WsRouter};

async fn compressed_endpoint(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let compressed = ws.enable_compression();

    ws.send_text(format!("compression: {compressed}")).await?; // too short to be compressed
    ws.send_text("all work and no play ".repeat(500)).await?;

    // A secret next to text that somebody else chose is guessed from the length (CRIME).
    let secret = "0123456789abcdef".repeat(100);
    ws.send_text(secret).compress(false).await?;
    ws.wait_closed().await;
    Ok(())
}

fn main() -> Result<(), nexios::StartError> {
    // Messages that build on each other: smaller, at some 150 KiB for each connection.
    let takeover = Route::new("/takeover", compressed_endpoint).settings(|settings| {
        settings.compression = Some(Compression {
            context_takeover: true,
            window_bits: 12,
            message_bytes_min: 64,
            ..Compression::default()
        });
    });
    let off = Route::new("/off", compressed_endpoint).settings(|settings| settings.compression = None);

    let ws_router = WsRouter::new().ws("/compressed", compressed_endpoint).route(takeover).route(off);
    println!("ws://127.0.0.1:8000/compressed, /takeover and /off");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
