//! fastwebsockets on hyper and a current-thread tokio, after the project's own examples.

mod broadcast;
mod echo;

use std::net::SocketAddr;

use bytes::Bytes;
use clap::Parser;
use fastwebsockets::{WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::broadcast::Hub;

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

/// Who hears what.
#[derive(Clone, Default)]
struct Hubs {
    /// The clients of `/bcast`.
    everybody: Hub,
    /// The clients of `/sub`.
    subscribers: Hub,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options.listen))
}

async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let hubs = Hubs::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_connection(stream, hubs.clone()));
    }
}

async fn serve_connection(stream: TcpStream, hubs: Hubs) {
    let service = service_fn(move |request| std::future::ready(answer(request, &hubs)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    // A client that goes away is no news to a load test.
    let _ = connection.await;
}

fn answer(mut request: Request<Incoming>, hubs: &Hubs) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let path = request.uri().path().to_owned();
    if !["/echo", "/bcast", "/pub", "/sub"].contains(&path.as_str()) {
        return Ok(not_found());
    }
    let (response, upgrade) = upgrade::upgrade(&mut request)?;
    match path.as_str() {
        "/bcast" => tokio::spawn(broadcast::serve(upgrade, hubs.everybody.clone(), Some(hubs.everybody.clone()))),
        "/pub" => tokio::spawn(broadcast::publish(upgrade, hubs.subscribers.clone())),
        "/sub" => tokio::spawn(broadcast::serve(upgrade, hubs.subscribers.clone(), None)),
        _ => tokio::spawn(tokio::task::unconstrained(echo::serve(upgrade))),
    };
    Ok(response)
}

fn not_found() -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
