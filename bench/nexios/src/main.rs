//! nexios as its users would write it: the server that the peers are compared with.

use clap::Parser;
use nexios::{App, RouterHandle, Serve, WebSocket, WsRouter};
use rustix::process::{Resource, getrlimit, setrlimit};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: String,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Keep no request heads after accept.
    #[arg(long)]
    drop_head: bool,
}

/// What `/pub` publishes to.
struct Subscribers(RouterHandle);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_descriptor_limit()?;
    let subscribers = WsRouter::new().ws("/sub", subscribe);
    let app = App::new()
        .settings(move |settings| settings.keep_head = !options.drop_head)
        .state(Subscribers(subscribers.handle()))
        .mount(WsRouter::new().ws("/echo", echo).ws("/pub", publish))
        .mount(WsRouter::new().ws("/bcast", broadcast))
        .mount(subscribers);
    app.run(Serve::tcp(options.listen).shards(options.shards))?;
    Ok(())
}

/// `/echo`: every text back to its sender.
async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

/// `/bcast`: every message to every client of the route, its sender included.
async fn broadcast(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        ws.router().broadcast(message).await;
    }
}

/// `/pub`: every message to every client of `/sub`.
async fn publish(ws: WebSocket) -> nexios::Result {
    let subscribers = ws.app_state::<Subscribers>()?;
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        subscribers.0.broadcast(message).await;
    }
}

/// `/sub`: what comes from `/pub`; what a subscriber sends is dropped.
async fn subscribe(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        ws.receive().await?;
    }
}

/// The soft limit is 1,024 on most systems, whatever the hard one allows.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
