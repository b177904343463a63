//! socketioxide with its Redis adapter, on axum and tokio, after the project's own examples: one node of two.

use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use socketioxide::SocketIo;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{Data, SocketRef};
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const ROOM: &str = "bench";

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The URL of the Redis that connects the nodes.
    #[arg(long)]
    broker: String,
    /// tokio's runtime of many threads, as the examples have it: one for each core.
    #[arg(long)]
    threads: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    raise_descriptor_limit()?;
    let mut runtime = if options.threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    runtime.enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    // The adapter asks for RESP3.
    let client = redis::Client::open(format!("{}/?protocol=resp3", options.broker))?;
    let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
    let (layer, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
    io.ns("/", on_connect).await?;
    let listener = TcpListener::bind(options.listen).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, Router::new().layer(layer)).await?;
    Ok(())
}

/// `join` enters the room, `publish` says something to all who are in it, on whichever node.
async fn on_connect<A: Adapter>(socket: SocketRef<A>) {
    socket.on("join", async |socket: SocketRef<A>| socket.join(ROOM));
    socket.on("publish", async |socket: SocketRef<A>, Data(text): Data<String>| {
        if let Err(error) = socket.within(ROOM).emit("message", &text).await {
            eprintln!("a message is not published: {error}");
        }
    });
}

/// The soft limit is 1,024 on most systems, whatever the hard one allows.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
