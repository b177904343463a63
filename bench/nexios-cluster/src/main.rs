//! One node of nexios, which Redis connects with the others, as its users would write it.

use clap::Parser;
use nexios::broker::History;
use nexios::{App, Route, Serve, WebSocket, WsRouter};
use rustix::process::{Resource, getrlimit, setrlimit};

const ROOM: &str = "bench";
/// The one that remembers.
const HISTORY: &str = "history";

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: String,
    /// The URL of the broker.
    #[arg(long)]
    broker: String,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_descriptor_limit()?;
    let router = WsRouter::new().ws("/room", listen).ws("/publish", publish);
    let router = router.route(Route::new("/history", come_back).live(true)).ws("/history-publish", store);
    let app = App::new().broker(options.broker.as_str()).mount(router);
    app.run(Serve::tcp(&options.listen).shards(1))?;
    Ok(())
}

/// `/room`: hears what is said in the room, on whichever node.
async fn listen(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.join(ROOM).await;
    loop {
        ws.receive().await?;
    }
}

/// `/publish`: every message to all who are in the room.
async fn publish(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let room = ws.app().room(ROOM);
    loop {
        let message = ws.receive().await?;
        room.broadcast(message).await;
    }
}

/// `/history`: clients of `nexios.v1` are in a room that remembers; those that come back, where they were.
async fn come_back(ws: WebSocket) -> nexios::Result {
    let _room = ws.app().room(HISTORY).with_history(History::default());
    ws.accept().await?;
    ws.join(HISTORY).await;
    loop {
        ws.receive().await?;
    }
}

/// `/history-publish`: every message is stored, and goes to all who are in the room that remembers.
async fn store(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let room = ws.app().room(HISTORY).with_history(History::default());
    loop {
        let message = ws.receive().await?;
        room.broadcast(message).await;
    }
}

/// The soft limit is 1,024 on most systems, whatever the hard one allows.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
