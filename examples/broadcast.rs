//! Broadcasts: to everybody, to a group, to a room, to some. `cargo run --example broadcast`.
//!
//! The same in Python:
//!
//! ```python
//! await ws_router.broadcast("Hello, everyone!")
//! await chat_group.broadcast("Hello, chat!")
//! await ws_router.broadcast_to(["client1", "client2"], "Hello, specific clients!")
//!
//! await ws.join("general")
//! await ws_router.room("general").broadcast("Hello, room!", exclude=[ws])
//! ```

use std::time::Duration;

use nexios::{App, RouterHandle, WebSocket, WsRouter};

/// `/chat/{room}?name=client1`
async fn chat(ws: WebSocket) -> nexios::Result {
    if let Some(name) = ws.query("name") {
        ws.set_client_id(name);
    }
    ws.accept().await?;

    let name: String = ws.path_param("room")?;
    ws.join(&name).await;
    let room = ws.app().room(&name);
    loop {
        let text = ws.receive_text().await?;
        let outcome = room.broadcast(&*text).exclude([&ws]).await;
        ws.send_text(format!("{} of {} heard you", outcome.count, room.count() - 1)).await?;
    }
}

/// A handle may go to any thread: here to one that does not belong to the server.
async fn announce(app: RouterHandle, chat_group: RouterHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        app.broadcast("Hello, everyone!").await;
        chat_group.broadcast("Hello, chat!").await;
        let outcome = app.broadcast_to(["client1", "client2"], "Hello, specific clients!").await;
        println!("{} got it, {} were too slow, not here: {:?}", outcome.count, outcome.dropped, outcome.unknown);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chat_group = WsRouter::with_prefix("/chat").ws("/{room}", chat);
    let chat_handle = chat_group.handle();
    let app = App::new().mount(chat_group);
    let app_handle = app.handle();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::spawn(move || runtime.block_on(announce(app_handle, chat_handle)));

    println!("ws://127.0.0.1:8000/chat/general?name=client1");
    Ok(app.run("127.0.0.1:8000")?)
}
