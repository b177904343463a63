//! Clients that come back: `docs/live.md`. A room with history, presence, requests.
//!
//! `cargo run --example live`, then connect `clients/js`, `nexios.client` or `nexios-client`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nexios::broker::History;
use nexios::{App, Json, RequestError, Serve, WebSocket};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: String,
}

/// Everybody is in `news`, which has a history; clients ask to enter other rooms.
async fn live(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.query("name").unwrap_or_default());
    ws.accept().await?;
    let news = ws.app().room("news").with_history(History::new(100, Duration::from_secs(600)));
    ws.join(news.name()).await;
    news.track(&ws, &json!({"since": "today"})).await?;
    loop {
        match &*ws.receive_text().await? {
            "\"close\"" => ws.close(4000, "enough").await?,
            text => ws.send_text(text).await?,
        }
    }
}

async fn divide(_: WebSocket, Json((a, b)): Json<(f64, f64)>) -> nexios::Result<Json<f64>> {
    if b == 0.0 {
        return Err(RequestError::new("by_zero", "cannot divide by 0").into());
    }
    Ok(Json(a / b))
}

fn main() -> Result<(), nexios::StartError> {
    let args = Args::parse();
    let may_join = async |_: WebSocket, room: Arc<str>| room.starts_with("chat-");
    let may_publish = async |ws: WebSocket, room: Arc<str>| ws.rooms().contains(&room);
    let serve = Serve::tcp(&args.listen).on_listen(|addresses| println!("Listening on {addresses:?}"));
    App::new()
        .live(true)
        .ws("/", live)
        .authorize_join(may_join)
        .authorize_publish(may_publish)
        .authorize_presence(async |_: WebSocket, room: Arc<str>| &*room == "news")
        .on_request("divide", divide)
        .run(serve)
}
