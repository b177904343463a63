//! sockudo-ws on a current-thread tokio, after the project's own examples.

mod handshake;
mod rooms;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sockudo_ws::{CompressedWebSocketStream, Config, Error, Message, PubSub, Result, WebSocketStream, init_clock};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    init_clock();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options.listen))
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let rooms = Arc::new(PubSub::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_connection(stream, Arc::clone(&rooms)));
    }
}

/// An error is a client that went away: no news to a load test.
async fn serve_connection(mut stream: TcpStream, rooms: Arc<PubSub>) -> Result<()> {
    let opened = handshake::answer(&mut stream).await?;
    match opened.deflate {
        None => {
            let socket = WebSocketStream::server(stream, Config::default());
            serve_route(&opened.path, socket, &rooms).await
        }
        Some(deflate) => {
            let socket = CompressedWebSocketStream::server(stream, Config::default(), deflate);
            serve_route(&opened.path, socket, &rooms).await
        }
    }
}

async fn serve_route<S>(path: &str, socket: S, rooms: &PubSub) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
    match path {
        "/echo" | "/deflate" => echo(socket).await,
        "/pub" => rooms::speak(socket, rooms, "/sub").await,
        "/sub" => rooms::hear(socket, rooms, path, None).await,
        _ => rooms::hear(socket, rooms, path, Some(path)).await,
    }
}

/// Every message back to its sender. The library flushes before it waits for more.
async fn echo<S>(mut socket: S) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
    while let Some(message) = socket.next().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            socket.feed(message).await?;
        }
    }
    Ok(())
}
