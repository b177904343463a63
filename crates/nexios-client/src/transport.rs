//! One connection: TCP or TLS, the handshake, whole messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::Uri;
use nexios_protocol::{
    ClientHandshake, CloseFrame, Codec, Connection, DeflateConfig, Limits, NO_STATUS, OpCode, Received, Role,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connector::Connector;
use crate::error::{CloseReason, ConnectError};
use crate::frame::Message;

const SUBPROTOCOL: &str = "nexios.v1";
const READ_BYTES: usize = 16 << 10;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Silence after which the server is asked whether it is still there, and how long it may think.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// What may wait to be written before the application has to wait.
const OUT_BYTES_MAX: usize = 256 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Transport {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    connection: Connection,
    codec: Codec,
    limits: Limits,
    input: BytesMut,
    out: BytesMut,
    asked: bool,
}

/// Where a URL leads.
struct Place {
    host: String,
    port: u16,
    /// For the `Host` field.
    authority: String,
    target: String,
    tls: bool,
}

impl Transport {
    /// Whether a URL is one.
    pub(crate) fn check(url: &str) -> Result<(), ConnectError> {
        Place::of(url).map(drop)
    }

    pub(crate) async fn open(to: &Connector, url: &str) -> Result<Self, ConnectError> {
        let place = Place::of(url)?;
        let tcp = TcpStream::connect((&*place.host, place.port)).await?;
        tcp.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match place.tls {
            true => Box::new(tls(&place, tcp, to).await?),
            false => Box::new(tcp),
        };
        let mut input = BytesMut::with_capacity(READ_BYTES);
        let (agreed, used) = shake_hands(&handshake(&place, to), &mut stream, &mut input).await?;
        input.advance(used);
        let (reader, writer) = tokio::io::split(stream);
        let connection = Connection::new(Role::Client, agreed);
        let limits = Limits { message_bytes_max: Some(to.message_bytes_max), ..Limits::default() };
        let (codec, out) = (Codec::new(), BytesMut::new());
        Ok(Transport { reader, writer, connection, codec, limits, input, out, asked: false })
    }

    /// Queues a message; [`next`](Self::next) writes it.
    pub(crate) fn send(&mut self, message: &Message) {
        let opcode = match message {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        let mut out = Vec::new();
        self.connection.send_message(&mut out, opcode, message.as_bytes());
        self.out.extend_from_slice(&out);
    }

    /// Whether so much waits to be written that more should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() > OUT_BYTES_MAX
    }

    /// The next message, while what waits is written; an error says that the connection is over.
    /// Dropped before it is ready, it has lost nothing.
    pub(crate) async fn next(&mut self) -> Result<Message, CloseReason> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let patience = if self.asked { ANSWER_MAX } else { SILENCE };
            match timeout(patience, self.exchange()).await {
                Ok(exchanged) => exchanged?,
                Err(_) if self.asked => return Err(CloseReason::lost("the server does not answer")),
                Err(_) => self.ask(),
            }
        }
    }

    /// A message that is there already.
    fn take(&mut self) -> Result<Option<Message>, CloseReason> {
        while !self.input.is_empty() {
            let mut answers = Vec::new();
            let received = self.connection.receive(&mut self.input, &mut answers, &self.limits, &mut self.codec);
            self.out.extend_from_slice(&answers);
            let (used, received) = received.map_err(CloseReason::lost)?;
            let message = match received {
                Some(Received::Text(text)) => Some(Message::Text(text.into_owned())),
                Some(Received::Binary(bytes)) => Some(Message::Binary(bytes.into_owned())),
                Some(Received::Close(frame)) => return Err(ended(frame)),
                Some(Received::Ping(_) | Received::Pong(_)) | None => None,
            };
            self.input.advance(used);
            if message.is_some() {
                return Ok(message);
            }
            if used == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// Reads something, or writes something.
    async fn exchange(&mut self) -> Result<(), CloseReason> {
        self.input.reserve(READ_BYTES);
        tokio::select! {
            read = self.reader.read_buf(&mut self.input) => match read.map_err(CloseReason::lost)? {
                0 => Err(CloseReason::lost("the server has hung up")),
                _ => { self.asked = false; Ok(()) }
            },
            written = self.writer.write(&self.out), if !self.out.is_empty() => {
                self.out.advance(written.map_err(CloseReason::lost)?);
                Ok(())
            }
        }
    }

    fn ask(&mut self) {
        self.asked = true;
        let mut out = Vec::new();
        // An empty ping is never too long.
        let _ = self.connection.send_ping(&mut out, &[]);
        self.out.extend_from_slice(&out);
    }

    /// Writes what waits and says goodbye, for as long as `patience` allows.
    pub(crate) async fn close(mut self, patience: Duration) {
        let mut out = Vec::new();
        let normal = nexios_protocol::CloseCode::NORMAL;
        self.connection.send_close(&mut out, Some(CloseFrame { code: normal, reason: "" }));
        self.out.extend_from_slice(&out);
        // Who does not answer is left.
        let _ = timeout(patience, async { while self.next().await.is_ok() {} }).await;
        let _ = timeout(patience, self.writer.shutdown()).await;
    }
}

fn ended(frame: Option<CloseFrame<'_>>) -> CloseReason {
    let (code, reason) = frame.map_or((NO_STATUS, ""), |frame| (frame.code.get(), frame.reason));
    CloseReason { code, reason: reason.to_owned(), retry: crate::retry::is_worth_another(code) }
}

impl Place {
    fn of(url: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let shown = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).to_owned();
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Place { host, port, authority: shown, target, tls })
    }
}

fn handshake(place: &Place, to: &Connector) -> ClientHandshake {
    let mut handshake = ClientHandshake::new(&*place.authority, &*place.target).subprotocol(SUBPROTOCOL);
    for name in &to.subprotocols {
        handshake = handshake.subprotocol(name);
    }
    for (name, value) in &to.headers {
        handshake = handshake.header(name, value);
    }
    if to.compression { handshake.deflate(DeflateConfig::default()) } else { handshake }
}

async fn tls(
    place: &Place,
    tcp: TcpStream,
    to: &Connector,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let name = ServerName::try_from(place.host.clone()).map_err(|_| ConnectError::Url(place.host.clone()))?;
    let config = to.tls.clone().unwrap_or_else(trusting_the_system);
    Ok(tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?)
}

/// The certificates that the machine trusts.
fn trusting_the_system() -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 || !found.errors.is_empty() {
        tracing::debug!(ignored, errors = found.errors.len(), "some of the machine's certificates cannot be read");
    }
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn shake_hands(
    handshake: &ClientHandshake,
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
) -> Result<(Option<nexios_protocol::Agreed>, usize), ConnectError> {
    stream.write_all(&handshake.request()?).await?;
    loop {
        if stream.read_buf(input).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((response, used)) = handshake.parse_response(input)? {
            if response.subprotocol.as_deref() != Some(SUBPROTOCOL) {
                return Err(ConnectError::NotSpoken);
            }
            return Ok((response.deflate, used));
        }
        if input.len() > HEAD_BYTES_MAX {
            return Err(std::io::Error::other("the answer's head is over 64 KiB").into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to() {
        let place = Place::of("ws://example.org/live?room=x").unwrap();
        assert_eq!((&*place.host, place.port, &*place.target, place.tls), ("example.org", 80, "/live?room=x", false));
        let place = Place::of("wss://ann@[::1]:8443").unwrap();
        assert_eq!((&*place.host, place.port, &*place.target, place.tls), ("::1", 8443, "/", true));
        assert_eq!(place.authority, "[::1]:8443");
        for url in ["http://example.org", "example.org", "ws:///x", ""] {
            assert!(matches!(Place::of(url), Err(ConnectError::Url(_))), "{url}");
        }
    }
}
