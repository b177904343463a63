//! Clients that speak `nexios.v1`: every row of `docs/protocol.md`.

mod closing;
mod holding;
mod messages;
mod opening;
mod presence;
mod requests;
mod rooms;

use std::rc::Rc;

use nexios::WebSocket;
use nexios_protocol::OpCode;

use crate::bench::{Bench, Client, Seen, handshake};

/// Connects and says hello.
fn live(bench: &Rc<Bench>, target: &str) -> Client {
    let client = offer(bench, target);
    frame(&client, r#"{"type":"hello"}"#, "");
    let welcome = client.texts();
    assert!(welcome.len() == 1 && welcome[0].starts_with("\u{1E}{\"type\":\"welcome\","), "{welcome:?}");
    client
}

/// Connects, and says nothing.
fn offer(bench: &Rc<Bench>, target: &str) -> Client {
    let client = bench.try_connect(handshake(target).subprotocol("nexios.v1")).unwrap();
    assert_eq!(client.response.subprotocol.as_deref(), Some("nexios.v1"));
    client
}

fn frame(client: &Client, header: &str, payload: &str) {
    client.send(&framed(header, payload));
}

/// A frame as text.
fn framed(header: &str, payload: &str) -> String {
    format!("\u{1E}{header}\n{payload}")
}

/// What has come, `1E` and LF as `|`, so that it can be read.
fn got(client: &Client) -> Vec<String> {
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(['\u{1E}', '\n'], "|");
    let seen = client.seen().into_iter().map(|seen| match seen {
        Seen::Text(text) => show(text.as_bytes()),
        Seen::Binary(bytes) => format!("binary {}", show(&bytes)),
        other => format!("{other:?}"),
    });
    seen.collect()
}

/// Several messages in one piece.
fn send_all(client: &Client, messages: &[String]) {
    client.write(|protocol, out| {
        messages.iter().for_each(|text| protocol.send_message(out, OpCode::Text, text.as_bytes()));
    });
}

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
    }
}

async fn deaf(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}
