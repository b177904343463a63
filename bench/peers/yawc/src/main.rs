//! yawc on hyper and a current-thread tokio, after the project's own examples.

mod broadcast;
mod echo;

use std::net::SocketAddr;

use bytes::Bytes;
use clap::Parser;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Sender;
use yawc::{HttpWebSocket, UpgradeFut, WebSocketError};

use crate::broadcast::Outgoing;

/// Messages of 1 MiB: the library's limit is exclusive.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024 + 1;

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
    everybody: Sender<Outgoing>,
    /// The clients of `/bcast-deflate`.
    everybody_deflated: Sender<Outgoing>,
    /// The clients of `/sub`.
    subscribers: Sender<Outgoing>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options.listen))
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let room = broadcast::room;
    let rooms = Rooms { everybody: room(), everybody_deflated: room(), subscribers: room() };
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_connection(stream, rooms.clone()));
    }
}

async fn serve_connection(stream: TcpStream, rooms: Rooms) {
    let service = service_fn(move |request| std::future::ready(answer(request, &rooms)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    // A client that goes away is no news to a load test.
    let _ = connection.await;
}

fn answer(mut request: Request<Incoming>, rooms: &Rooms) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let path = request.uri().path().to_owned();
    let options = match path.as_str() {
        "/echo" | "/bcast" | "/pub" | "/sub" => yawc::Options::default(),
        "/deflate" | "/bcast-deflate" => yawc::Options::default().with_balanced_compression(),
        _ => return Ok(not_found()),
    };
    let options = options.with_utf8().with_max_payload_read(PAYLOAD_BYTES_MAX);
    let (response, upgrade) = HttpWebSocket::upgrade_with_options(&mut request, options)?;
    tokio::spawn(serve_route(path, upgrade, rooms.clone()));
    Ok(response)
}

/// An error is a client that went away.
async fn serve_route(path: String, upgrade: UpgradeFut, rooms: Rooms) -> Result<(), WebSocketError> {
    let socket = upgrade.await?;
    let Rooms { everybody, everybody_deflated, subscribers } = rooms;
    match path.as_str() {
        "/bcast" => broadcast::serve(socket, everybody.subscribe(), Some(everybody)).await,
        "/bcast-deflate" => broadcast::serve(socket, everybody_deflated.subscribe(), Some(everybody_deflated)).await,
        "/pub" => broadcast::publish(socket, subscribers).await,
        "/sub" => broadcast::serve(socket, subscribers.subscribe(), None).await,
        _ => echo::serve(socket).await,
    }
}

fn not_found() -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
