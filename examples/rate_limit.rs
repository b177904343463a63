//! Rate limits: ready-made and hand-written. `cargo run --example rate_limit`.
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.middleware
//! async def rate_limit(ws, next):
//!     if not await check_rate_limit(ws.client):
//!         await ws.close(code=1008, reason="Rate limit exceeded")
//!         return
//!     return await next(ws)
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nexios::{App, Next, RateLimit, Route, WebSocket, WsRouter, rate_limit::OnExcess, request::Client};

/// By hand: when each host has connected in the last minute. The app shares it.
#[derive(Default)]
struct Recent(Mutex<HashMap<IpAddr, Vec<Instant>>>);

async fn rate_limit(ws: WebSocket, next: Next) -> nexios::Result {
    if !check_rate_limit(&*ws.app_state::<Recent>()?, ws.client()) {
        ws.close(1008, "Rate limit exceeded").await?;
        return Ok(());
    }
    next.run(ws).await
}

/// At most ten connections of one host in a minute.
fn check_rate_limit(recent: &Recent, client: Option<Client>) -> bool {
    let Some(client) = client else { return true };
    let Ok(mut hosts) = recent.0.lock() else { return false };
    let now = Instant::now();
    let is_recent = |time: &Instant| now.duration_since(*time) < Duration::from_secs(60);
    hosts.retain(|_, times| times.iter().any(is_recent));
    let times = hosts.entry(client.host).or_default();
    times.retain(is_recent);
    times.push(now);
    times.len() <= 10
}

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

fn main() -> Result<(), nexios::StartError> {
    // Ready-made: for handshakes by host, for messages by connection.
    let dial = RateLimit::handshakes(5).per(Duration::from_secs(10));
    let talk = RateLimit::messages(10).per(Duration::from_secs(1)).burst(30);
    // Instead of closing, let the client wait; all connections of one user count together.
    let patient = RateLimit::messages(1)
        .on_excess(OnExcess::Wait)
        .key_by(|ws| ws.query("user").unwrap_or_else(|| ws.id().to_string()));

    let ready_made = WsRouter::with_prefix("/ready-made")
        .middleware(dial)
        .route(Route::new("/close", echo).middleware(talk))
        .route(Route::new("/wait", echo).middleware(patient));
    let by_hand = WsRouter::with_prefix("/by-hand").middleware(rate_limit).ws("/echo", echo);
    println!("ws://127.0.0.1:8000/ready-made/close, /ready-made/wait?user=ann and /by-hand/echo");
    App::new().state(Recent::default()).mount(ready_made).mount(by_hand).run("127.0.0.1:8000")
}
