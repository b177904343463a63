//! A node, as an application would write it.

use std::sync::Arc;
use std::time::Duration;

use nexios::broker::History;
use nexios::{App, ConnectionState, RequestError, Serve, WebSocket};

use crate::Result;

/// The method by which a message is sent to a room without history: a request is made once,
/// where a publish that was not answered is made again.
pub(crate) const BROADCAST: &str = "broadcast";
/// The method that asks how often the broker was lost and came back.
pub(crate) const RECONNECTS: &str = "reconnects";

/// True for a room with history.
pub(crate) fn has_history(room: &str) -> bool {
    room.starts_with("log")
}

pub(crate) fn run(listen: &str, broker: &str) -> Result<()> {
    let app = App::new()
        .broker(broker)
        .live(true)
        .ws("/live/{room}", live)
        .ws("/publish/{room}", publish)
        .authorize_publish(async |_: WebSocket, _: Arc<str>| true)
        .on_request(BROADCAST, broadcast)
        .on_request(RECONNECTS, async |ws: WebSocket, (): ()| {
            ws.app().broker_metrics().map_or(0, |metrics| metrics.reconnects).to_string()
        });
    app.run(Serve::tcp(listen).shards(1))?;
    Ok(())
}

/// Hears what is said in a room.
async fn live(ws: WebSocket) -> nexios::Result {
    let _room = declare(&ws)?;
    ws.accept().await?;
    let room: String = ws.path_param("room")?;
    if !ws.join(&room).await && ws.connection_state() == ConnectionState::Connected {
        eprintln!("chaos: a node has not let a client into {room}");
    }
    ws.wait_closed().await;
    Ok(())
}

/// Only speaks.
async fn publish(ws: WebSocket) -> nexios::Result {
    let _room = declare(&ws)?;
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

fn declare(ws: &WebSocket) -> nexios::Result<nexios::Room> {
    let name: String = ws.path_param("room")?;
    let room = ws.app().room(&name);
    Ok(match has_history(&name) {
        true => room.with_history(History::new(20_000, Duration::from_secs(3600))),
        false => room,
    })
}

async fn broadcast(ws: WebSocket, message: String) -> nexios::Result<()> {
    let room: String = ws.path_param("room")?;
    match ws.app().room(&room).broadcast(message).await.accepted {
        true => Ok(()),
        false => Err(RequestError::new("full", "too much waits for the broker").into()),
    }
}
