//! Authentication before accept: by header, subprotocol, cookie or query. `cargo run --example auth`.
//!
//! A refused client sees the code 1008 and the reason, also in a browser:
//! `new WebSocket("ws://127.0.0.1:8000/bearer", ["bearer", "wrong"])`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.ws("/secure")
//! async def secure_endpoint(ws):
//!     token = ws.headers.get("Authorization")
//!     if not await validate_token(token):
//!         await ws.close(code=1008, reason="Invalid token")
//!         return
//!
//!     await ws.accept()
//!     # Secure WebSocket logic...
//! ```

use nexios::{App, Next, Route, WebSocket, WsRouter};

/// As in the reference: the whole `Authorization` header.
async fn secure_endpoint(ws: WebSocket) -> nexios::Result {
    let token = ws.headers().get("Authorization").map(str::to_owned);
    if !validate_token(token.as_deref()).await {
        ws.close(1008, "Invalid token").await?;
        return Ok(());
    }

    ws.accept().await?;
    secure_logic(ws).await
}

/// `Authorization: Bearer secret`, or for browsers, which cannot set headers, the
/// subprotocols `bearer, secret`. The token is never echoed.
async fn bearer(ws: WebSocket, next: Next) -> nexios::Result {
    let token = ws.bearer_token();
    require(ws, next, token).await
}

/// A cookie is sent by any page; that only pages of the same origin may connect makes it safe.
async fn cookie(ws: WebSocket, next: Next) -> nexios::Result {
    let token = ws.cookie("session");
    require(ws, next, token).await
}

/// A URL ends up in logs: use tokens that are good for one use and for a short time.
async fn query(ws: WebSocket, next: Next) -> nexios::Result {
    let token = ws.query("token");
    require(ws, next, token).await
}

async fn require(ws: WebSocket, next: Next, token: Option<String>) -> nexios::Result {
    if !validate_token(token.as_deref()).await {
        ws.close(1008, "Invalid token").await?;
        return Ok(());
    }
    next.run(ws).await
}

/// Here a database would be asked.
async fn validate_token(token: Option<&str>) -> bool {
    token == Some("secret")
}

async fn secure(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    secure_logic(ws).await
}

async fn secure_logic(ws: WebSocket) -> nexios::Result {
    ws.send_text("You are in").await?;
    ws.wait_closed().await;
    Ok(())
}

fn main() -> Result<(), nexios::StartError> {
    let ws_router = WsRouter::new()
        .ws("/secure", secure_endpoint)
        .route(Route::new("/bearer", secure).middleware(bearer))
        .route(Route::new("/cookie", secure).middleware(cookie))
        .route(Route::new("/query", secure).middleware(query));
    println!("ws://127.0.0.1:8000/secure, /bearer, /cookie and /query; the token is \"secret\"");
    App::new().mount(ws_router).run("127.0.0.1:8000")
}
