//! Sending and receiving: text, binary, JSON, ping and pong. `cargo run --example messages`.
//!
//! The same in Python:
//!
//! ```python
//! await ws.send_text("Hello, World!")
//! await ws.send_bytes(b"Hello, World!")
//! await ws.send_json({"message": "Hello", "type": "greeting"})
//! await ws.send_ping()
//! await ws.send_pong()
//!
//! text = await ws.receive_text()
//! binary = await ws.receive_bytes()
//! data = await ws.receive_json()
//! ping = await ws.receive_ping()
//! pong = await ws.receive_pong()
//! ```

use nexios::{App, Message, ReceiveError, WebSocket};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greeting {
    message: String,
    r#type: String,
}

/// Sends one of each kind, then asks for one of each kind.
async fn all_kinds(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;

    ws.send_text("Hello, World!").await?;
    ws.send_bytes(b"Hello, World!").await?;
    ws.send_json(&Greeting { message: "Hello".into(), r#type: "greeting".into() }).await?;
    ws.send_ping("are you there?").await?;
    ws.send_pong("").await?;

    let text = ws.receive_text().await?;
    let binary = ws.receive_bytes().await?;
    let data: Greeting = ws.receive_json().await?;
    let pong = ws.receive_pong().await?;
    println!("{text}, {} bytes, {}, pong {}", binary.len(), data.message, pong.escape_ascii());
    Ok(())
}

/// What else there is: round trips, both kinds at once, and messages that are only lent.
async fn more(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    println!("the client is {:?} away", ws.ping().await?);

    // Binary where text is expected is an error that carries the message; nothing is lost.
    match ws.receive_text().await {
        Ok(text) => println!("text: {text}"),
        Err(ReceiveError::WrongType(error)) => println!("binary: {} bytes", error.message.len()),
        Err(error) => return Err(error.into()),
    }

    // Looked at where it was read, without a copy.
    let length = ws.receive_with(|message| message.as_bytes().len()).await?;
    ws.send_text(format!("{length} bytes")).await?;

    let mut messages = ws.messages();
    while let Some(message) = messages.next().await {
        match message? {
            Message::Text(text) => ws.send_text(text).await?,
            Message::Binary(bytes) => ws.send_bytes(bytes).compress(false).await?,
        }
    }
    Ok(())
}

/// Pings are answered by themselves; `receive_ping` only looks at them.
async fn pings(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let ping = ws.receive_ping().await?;
        ws.send_text(format!("you pinged with {}", ping.escape_ascii())).await?;
    }
}

fn main() -> Result<(), nexios::StartError> {
    println!("ws://127.0.0.1:8000/all-kinds, /more and /pings");
    App::new().ws("/all-kinds", all_kinds).ws("/more", more).ws("/pings", pings).run("127.0.0.1:8000")
}
