//! State of a connection, by name and by type, and of the app. `cargo run --example state`.
//!
//! The same in Python:
//!
//! ```python
//! # Store client state
//! ws.state["user_id"] = 42
//! ws.state["room"] = "general"
//!
//! # Access client state
//! user_id = ws.state.get("user_id")
//! room = ws.state.get("room")
//! ```

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use nexios::{App, Next, WebSocket};

/// One for the whole app, shared by all threads.
#[derive(Default)]
struct Visits(AtomicU64);

/// One for each connection, which stays on its thread: no lock is needed.
#[derive(Default)]
struct Counter(Cell<u64>);

/// What a middleware stores, the handler finds.
async fn sign_in(ws: WebSocket, next: Next) -> nexios::Result {
    ws.state().set("user_id", 42);
    ws.state().set("room", "general");
    ws.state().insert(Counter::default());
    next.run(ws).await
}

async fn count(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let visit = ws.app_state::<Visits>()?.0.fetch_add(1, Ordering::Relaxed) + 1;
    let user_id: Option<u64> = ws.state().get_as("user_id");
    let room: Option<String> = ws.state().get_as("room");
    ws.send_text(format!("visit {visit}: user {user_id:?} in {room:?}")).await?;

    loop {
        ws.receive().await?;
        let counter = ws.state().get::<Counter>().unwrap_or_default();
        counter.0.set(counter.0.get() + 1);
        ws.send_text(format!("message {}", counter.0.get())).await?;
    }
}

fn main() -> Result<(), nexios::StartError> {
    println!("ws://127.0.0.1:8000/ws");
    App::new().state(Visits::default()).middleware(sign_in).ws("/ws", count).run("127.0.0.1:8000")
}
