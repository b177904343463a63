//! The handshake, which the library leaves to its user where compression is a route's affair.

use bytes::BytesMut;
use sockudo_ws::deflate::{DeflateNegotiation, negotiate_server_deflate};
use sockudo_ws::handshake::{HandshakeRequest, build_response, generate_accept_key, parse_request};
use sockudo_ws::{DeflateConfig, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 8192;

/// What was asked for.
pub(crate) struct Opened {
    pub(crate) path: String,
    pub(crate) deflate: Option<DeflateConfig>,
}

/// Reads the request and answers it.
pub(crate) async fn answer(stream: &mut TcpStream) -> Result<Opened> {
    let mut head = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(Error::ConnectionClosed);
        }
        if let Some((request, _)) = parse_request(&head)? {
            let deflate = negotiate(&request);
            let extensions = deflate.as_ref().map(DeflateNegotiation::to_response_header);
            let response = build_response(&generate_accept_key(request.key), None, extensions.as_deref());
            stream.write_all(&response).await?;
            let path = request.path.into_owned();
            return Ok(Opened { path, deflate: deflate.map(|negotiation| negotiation.config) });
        }
    }
}

fn negotiate(request: &HandshakeRequest<'_>) -> Option<DeflateNegotiation> {
    match request.path.as_ref() {
        "/deflate" | "/bcast-deflate" => negotiate_server_deflate(request.extensions?, &DeflateConfig::default()),
        _ => None,
    }
}
