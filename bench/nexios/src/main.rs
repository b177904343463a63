//! nexios as its users would write it: the server that the peers are compared with.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use nexios::{App, RouterHandle, Serve, Settings, Tls, WebSocket, WsRouter};
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
    /// Effort of compression, 1 to 9; the product's default without this.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    deflate_level: Option<u8>,
    /// A PEM file with a certificate chain: TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// A PEM file with its key.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

impl Options {
    fn apply(&self, settings: &mut Settings) {
        settings.keep_head = !self.drop_head;
        if let Some(compression) = &mut settings.compression {
            // The routes with compression compress every message, as the peers do.
            compression.message_bytes_min = 0;
            compression.level = self.deflate_level.unwrap_or(compression.level);
        }
    }
}

/// What `/pub` publishes to.
struct Subscribers(RouterHandle);

/// How many clients of `/rooms` there have been: each is alone in a room of its own.
#[derive(Default)]
struct Rooms(AtomicUsize);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_descriptor_limit()?;
    let subscribers = WsRouter::new().ws("/sub", subscribe);
    let mut serve = Serve::tcp(&options.listen).shards(options.shards);
    if let (Some(certificate), Some(key)) = (&options.certificate, &options.key) {
        serve = serve.tls(Tls::files(certificate, key));
    }
    let app = App::new()
        .settings(move |settings| options.apply(settings))
        .state(Subscribers(subscribers.handle()))
        .state(Rooms::default())
        .mount(WsRouter::new().ws("/echo", echo).ws("/deflate", echo_deflated).ws("/pub", publish))
        .mount(WsRouter::new().ws("/bcast", broadcast))
        .mount(WsRouter::new().ws("/rooms", live_alone).ws("/rooms-pub", publish_to_rooms))
        .mount(WsRouter::new().ws("/bcast-deflate", broadcast_deflated))
        .mount(subscribers);
    app.run(serve)?;
    Ok(())
}

/// `/echo`: every message back to its sender.
async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
    }
}

/// `/deflate`: the same, compressed.
async fn echo_deflated(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.enable_compression();
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
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

/// `/bcast-deflate`: the same, compressed.
async fn broadcast_deflated(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.enable_compression();
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

/// `/rooms`: a room of its own for each client.
async fn live_alone(ws: WebSocket) -> nexios::Result {
    let number = ws.app_state::<Rooms>()?.0.fetch_add(1, Ordering::Relaxed);
    ws.accept().await?;
    ws.join(number.to_string()).await;
    loop {
        ws.receive().await?;
    }
}

/// `/rooms-pub`: every message to each of these rooms, by a broadcast for each.
async fn publish_to_rooms(ws: WebSocket) -> nexios::Result {
    let rooms = ws.app_state::<Rooms>()?;
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        for number in 0..rooms.0.load(Ordering::Relaxed) {
            ws.router().room(number.to_string()).broadcast(message.clone()).await;
        }
    }
}

/// The soft limit is 1,024 on most systems, whatever the hard one allows.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
