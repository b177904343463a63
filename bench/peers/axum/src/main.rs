//! axum on a current-thread tokio, after the project's own examples.

mod broadcast;
mod echo;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ws::Message;
use axum::routing::any;
use axum::serve::ListenerExt;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::sync::broadcast::Sender;

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// What each connection reads at once. tungstenite zeroes all of it for each read, and
    /// keeps it: its default of 128 KiB costs small messages most of their time.
    #[arg(long, default_value_t = 4096)]
    read_buffer_bytes: usize,
}

/// What the handlers of a route know.
#[derive(Clone)]
struct Shared {
    room: Sender<Message>,
    read_buffer_bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let shared = || Shared { room: broadcast::room(), read_buffer_bytes: options.read_buffer_bytes };
    let published = Router::new().route("/pub", any(broadcast::publish)).route("/sub", any(broadcast::subscribe));
    let router = Router::new()
        .route("/echo", any(echo::upgrade))
        .route("/bcast", any(broadcast::upgrade))
        .with_state(shared())
        .merge(published.with_state(shared()));
    let listener = TcpListener::bind(options.listen).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
