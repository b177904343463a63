//! Middleware for a router and for one route. `cargo run --example middleware`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.middleware
//! async def auth_middleware(ws, next):
//!     if not ws.headers.get("Authorization"):
//!         await ws.close(code=1008, reason="Authentication required")
//!         return
//!     return await next(ws)
//!
//! @ws_router.ws("/chat", middleware=[auth_middleware])
//! async def chat(ws):
//!     await ws.accept()
//! ```

use std::time::Instant;

use nexios::{App, Next, Route, WebSocket, WsRouter};

async fn auth_middleware(ws: WebSocket, next: Next) -> nexios::Result {
    if !ws.headers().contains("Authorization") {
        ws.close(1008, "Authentication required").await?;
        return Ok(());
    }
    next.run(ws).await
}

/// What follows `next` is teardown.
async fn time_middleware(ws: WebSocket, next: Next) -> nexios::Result {
    let start = Instant::now();
    let result = next.run(ws.clone()).await;
    println!("{} was here for {:?}", ws.id(), start.elapsed());
    result
}

async fn chat(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

fn main() -> Result<(), nexios::StartError> {
    // The order is app, router, route; registered at two levels, a middleware runs once.
    let ws_router = WsRouter::new()
        .middleware(time_middleware)
        .middleware(auth_middleware)
        .route(Route::new("/chat", chat).middleware(auth_middleware));
    println!("ws://127.0.0.1:8000/chat wants an Authorization header");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
