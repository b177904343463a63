//! tokio-tungstenite on a current-thread tokio, after the project's own examples.

mod broadcast;
mod echo;

use std::net::SocketAddr;

use clap::Parser;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Sender;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// What each connection reads at once. All of it is zeroed for each read and kept: the
/// documentation advises 4 KiB for many connections.
const READ_BUFFER_BYTES: usize = 4096;

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

/// Who hears what.
#[derive(Clone)]
struct Rooms {
    /// The clients of `/bcast`.
    everybody: Sender<Message>,
    /// The clients of `/sub`.
    subscribers: Sender<Message>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options.listen))
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let rooms = Rooms { everybody: broadcast::room(), subscribers: broadcast::room() };
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_connection(stream, rooms.clone()));
    }
}

/// An error is a client that went away: no news to a load test.
async fn serve_connection(stream: TcpStream, Rooms { everybody, subscribers }: Rooms) -> Result<(), Error> {
    let (path, socket) = accept(stream).await?;
    match path.as_str() {
        "/bcast" => broadcast::serve(socket, everybody.subscribe(), Some(everybody)).await,
        "/pub" => broadcast::publish(socket, subscribers).await,
        "/sub" => broadcast::serve(socket, subscribers.subscribe(), None).await,
        _ => echo::serve(socket).await,
    }
}

async fn accept(stream: TcpStream) -> Result<(String, WebSocketStream<TcpStream>), Error> {
    let mut path = String::new();
    // The signature is the library's.
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let socket = accept_hdr_async_with_config(stream, look, Some(config)).await?;
    Ok((path, socket))
}
