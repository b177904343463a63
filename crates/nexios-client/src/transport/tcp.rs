//! WebSocket over TCP or TLS.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use nexios_protocol::{
    Agreed, ClientHandshake, CloseCode, CloseFrame, Codec, Connection as Protocol, DeflateConfig, HandshakeError,
    Limits, NO_STATUS, OpCode, Received, Role,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::address::Address;
use super::{Attempt, BoxFuture, Connection, DialError, Dialer, Ended};
use crate::Message;

const READ_BYTES: usize = 16 << 10;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The silence after which the client sends a Ping, and the time for the Pong.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes that may wait to be written before the client waits.
const OUT_BYTES_MAX: usize = 256 << 10;
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The dialer of WebSockets over TCP and TLS.
///
/// ```
/// use nexios_client::transport::{Tcp, TcpOptions};
/// let mut options = TcpOptions::default();
/// options.compression = true;
/// let dialer = Tcp::new(options);
/// ```
#[derive(Clone, Default, Debug)]
pub struct Tcp {
    options: TcpOptions,
}

/// Settings of [`Tcp`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpOptions {
    /// True if the server may compress (RFC 7692); false by default.
    pub compression: bool,
    /// The longest message accepted: 16 MiB by default.
    pub message_bytes_max: usize,
    /// TLS, instead of trusting the certificates that the machine trusts.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions { compression: false, message_bytes_max: 16 << 20, tls: None }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Open {
    stream: Box<dyn Stream>,
    subprotocol: Option<String>,
    protocol: Protocol,
    codec: Codec,
    limits: Limits,
    input: BytesMut,
    out: BytesMut,
    /// The time at which the server has been silent for too long.
    patience: Pin<Box<Sleep>>,
    has_asked: bool,
    /// The connection is over once what waits is written.
    ended: Option<Ended>,
}

impl Tcp {
    /// Creates a dialer.
    pub fn new(options: TcpOptions) -> Self {
        Tcp { options }
    }
}

impl Dialer for Tcp {
    fn dial(&self, attempt: Attempt) -> BoxFuture<Result<Box<dyn Connection>, DialError>> {
        let options = self.options.clone();
        Box::pin(async move {
            let open = Open::dial(&attempt, &options).await?;
            Ok(Box::new(open) as Box<dyn Connection>)
        })
    }
}

impl Open {
    async fn dial(attempt: &Attempt, options: &TcpOptions) -> Result<Self, DialError> {
        let invalid = || DialError::Unreachable(format!("invalid address {:?}", attempt.url));
        let address = Address::parse(&attempt.url).ok_or_else(invalid)?;
        let tcp = TcpStream::connect((&*address.host, address.port)).await?;
        tcp.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match address.is_tls {
            true => Box::new(tls(&address, tcp, options).await?),
            false => Box::new(tcp),
        };
        let mut input = BytesMut::with_capacity(READ_BYTES);
        let handshake = handshake(&address, attempt, options);
        let (subprotocol, agreed, used) = shake_hands(&handshake, &mut stream, &mut input).await?;
        input.advance(used);
        let protocol = Protocol::new(Role::Client, agreed);
        let limits = Limits { message_bytes_max: Some(options.message_bytes_max), ..Limits::default() };
        let (codec, out, patience) = (Codec::new(), BytesMut::new(), Box::pin(sleep(SILENCE)));
        let (has_asked, ended) = (false, None);
        Ok(Open { stream, subprotocol, protocol, codec, limits, input, out, patience, has_asked, ended })
    }

    /// Takes a message that is there already, or notes the end.
    fn take(&mut self) -> Option<Message> {
        while !self.input.is_empty() && self.ended.is_none() {
            let mut answers = Vec::new();
            let received = self.protocol.receive(&mut self.input, &mut answers, &self.limits, &mut self.codec);
            self.out.extend_from_slice(&answers);
            let (used, received) = match received {
                Ok(received) => received,
                Err(error) => {
                    self.end(Ended::Malformed(error.to_string()));
                    return None;
                }
            };
            let message = match received {
                Some(Received::Text(text)) => Some(Message::Text(text.into_owned())),
                Some(Received::Binary(bytes)) => Some(Message::Binary(bytes.into_owned())),
                Some(Received::Close(frame)) => {
                    // Bytes behind a Close frame do not count.
                    let ended = closed(frame);
                    self.end(ended);
                    return None;
                }
                Some(Received::Ping(_) | Received::Pong(_)) | None => None,
            };
            self.input.advance(used);
            if message.is_some() || used == 0 {
                return message;
            }
        }
        None
    }

    fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
        self.patience.as_mut().reset(Instant::now() + CLOSE_MAX);
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.out))?;
            self.out.advance(written);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ_BYTES);
        pin!(self.stream.read_buf(&mut self.input)).poll(context)
    }

    /// Asks the server after silence; more silence is the end.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Option<Ended>> {
        ready!(self.patience.as_mut().poll(context));
        if self.has_asked {
            return Poll::Ready(Some(Ended::Lost("the server does not answer".to_owned())));
        }
        self.has_asked = true;
        self.patience.as_mut().reset(Instant::now() + ANSWER_MAX);
        let mut out = Vec::new();
        // An empty ping is never too long.
        let _ = self.protocol.send_ping(&mut out, &[]);
        self.out.extend_from_slice(&out);
        Poll::Ready(None)
    }

    /// Writes the answer to the server's Close frame, within the time for it.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Option<Ended> {
        let is_written = self.poll_write(context).is_ready();
        let is_late = self.patience.as_mut().poll(context).is_ready();
        if is_written || is_late { self.ended.take() } else { None }
    }

    /// Notes the end of the connection; what waits is written first.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        match self.poll_end(context) {
            Some(ended) => Poll::Ready(Err(ended)),
            None => Poll::Pending,
        }
    }

    fn received(&mut self) {
        self.has_asked = false;
        self.patience.as_mut().reset(Instant::now() + SILENCE);
    }
}

impl Connection for Open {
    fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    fn send(&mut self, message: Message) {
        let opcode = match message {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        let mut out = Vec::new();
        self.protocol.send_message(&mut out, opcode, message.as_bytes());
        self.out.extend_from_slice(&out);
    }

    fn is_full(&self) -> bool {
        self.out.len() > OUT_BYTES_MAX
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        loop {
            if let Some(message) = self.take() {
                return Poll::Ready(Ok(message));
            }
            if self.ended.is_some() {
                return self.poll_ended(context);
            }
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(Ended::Lost(error.to_string())));
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Ended::Lost("the server has hung up".to_owned()))),
                Poll::Ready(Ok(_)) => self.received(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Lost(error.to_string()))),
                Poll::Pending => {
                    if let Some(ended) = ready!(self.poll_patience(context)) {
                        return Poll::Ready(Err(ended));
                    }
                }
            }
        }
    }

    fn close(mut self: Box<Self>, code: u16, reason: String) -> BoxFuture<()> {
        Box::pin(async move {
            let mut out = Vec::new();
            let code = CloseCode::try_from(code).unwrap_or(CloseCode::NORMAL);
            self.protocol.send_close(&mut out, Some(CloseFrame { code, reason: &reason }));
            self.out.extend_from_slice(&out);
            // A server that does not answer in time is left.
            let _ = timeout(CLOSE_MAX, async {
                while std::future::poll_fn(|context| self.poll(context)).await.is_ok() {}
                self.stream.shutdown().await
            })
            .await;
        })
    }
}

fn closed(frame: Option<CloseFrame<'_>>) -> Ended {
    let (code, reason) = frame.map_or((NO_STATUS, ""), |frame| (frame.code.get(), frame.reason));
    Ended::Closed { code, reason: reason.to_owned() }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        DialError::Unreachable(error.to_string())
    }
}

impl From<HandshakeError> for DialError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Refused { status, headers } => {
                let is_it = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("retry-after");
                let seconds = headers.iter().find(is_it).and_then(|(_, value)| value.trim().parse().ok());
                DialError::Refused { status, retry_after: seconds.map(Duration::from_secs) }
            }
            error @ (HandshakeError::InvalidHeader(_) | HandshakeError::ReservedHeader(_)) => {
                DialError::Unreachable(error.to_string())
            }
            error => DialError::Malformed(error.to_string()),
        }
    }
}

fn handshake(address: &Address, attempt: &Attempt, options: &TcpOptions) -> ClientHandshake {
    let mut handshake = ClientHandshake::new(&*address.authority, &*address.target);
    for name in &attempt.subprotocols {
        handshake = handshake.subprotocol(name);
    }
    for (name, value) in &attempt.headers {
        handshake = handshake.header(name, value);
    }
    if options.compression { handshake.deflate(DeflateConfig::default()) } else { handshake }
}

async fn tls(
    address: &Address,
    tcp: TcpStream,
    options: &TcpOptions,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
    let name = ServerName::try_from(address.host.clone());
    let name = name.map_err(|_| DialError::Unreachable(format!("{:?} cannot have a certificate", address.host)))?;
    let config = options.tls.clone().unwrap_or_else(trusting_the_system);
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
) -> Result<(Option<String>, Option<Agreed>, usize), DialError> {
    stream.write_all(&handshake.request()?).await?;
    stream.flush().await?;
    loop {
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((response, used)) = handshake.parse_response(input)? {
            return Ok((response.subprotocol, response.deflate, used));
        }
        if input.len() > HEAD_BYTES_MAX {
            return Err(DialError::Malformed("the answer's head is over 64 KiB".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    /// A connection, and the server's end of it.
    fn open() -> (Open, DuplexStream) {
        let (stream, server) = tokio::io::duplex(1 << 20);
        let (limits, input, out) = (Limits::default(), BytesMut::new(), BytesMut::new());
        let (protocol, codec, patience) = (Protocol::new(Role::Client, None), Codec::new(), Box::pin(sleep(SILENCE)));
        let (stream, subprotocol, has_asked, ended) = (Box::new(stream), None, false, None);
        (Open { stream, subprotocol, protocol, codec, limits, input, out, patience, has_asked, ended }, server)
    }

    async fn next(open: &mut Open) -> Result<Message, Ended> {
        std::future::poll_fn(|context| open.poll(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_silent_is_asked_and_then_left() {
        let (mut open, mut server) = open();
        let start = Instant::now();
        assert_eq!(next(&mut open).await, Err(Ended::Lost("the server does not answer".to_owned())));
        assert_eq!(start.elapsed().as_secs(), (SILENCE + ANSWER_MAX).as_secs());
        assert_eq!(server.read_u8().await.unwrap(), 0x89, "a Ping");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_is_kept() {
        let (mut open, mut server) = open();
        let answering = tokio::spawn(async move {
            let mut ping = [0; 6];
            for _ in 0..3 {
                server.read_exact(&mut ping).await.unwrap();
                server.write_all(&[0x8a, 0]).await.unwrap();
            }
            server.write_all(&[0x81, 1, b'x']).await.unwrap();
            server
        });
        assert_eq!(next(&mut open).await, Ok(Message::from("x")));
        drop(answering.await.unwrap());
        assert!(matches!(next(&mut open).await, Err(Ended::Lost(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_close_frame_of_the_server_is_answered() {
        let (mut open, mut server) = open();
        server.write_all(&[0x88, 2, 0x0f, 0xa0]).await.unwrap();
        assert_eq!(next(&mut open).await, Err(Ended::Closed { code: 4000, reason: String::new() }));
        assert_eq!(server.read_u8().await.unwrap(), 0x88);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_breaks_the_protocol_is_told_and_left() {
        let (mut open, mut server) = open();
        server.write_all(&[0xff, 0xff]).await.unwrap();
        assert!(matches!(next(&mut open).await, Err(Ended::Malformed(_))));
        Box::new(open).close(1002, "no".to_owned()).await;
        assert_eq!(server.read_u8().await.unwrap(), 0x88);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_say_goodbye_is_left_after_two_seconds() {
        let (open, _server) = open();
        let start = Instant::now();
        Box::new(open).close(1000, String::new()).await;
        assert_eq!(start.elapsed(), CLOSE_MAX);
    }

    #[test]
    fn a_refusal_says_when_to_come_back_in_seconds() {
        let refused = |value: &str| {
            let headers = vec![("Retry-After".to_owned(), value.to_owned())];
            match DialError::from(HandshakeError::Refused { status: 503, headers }) {
                DialError::Refused { retry_after, .. } => retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!((refused("tomorrow"), refused("-1"), refused("99999999999999999999")), (None, None, None));
    }
}
