//! A client that can say anything: raw bytes out, frames and ends of streams in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::Answer;

/// How long a client waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for what must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What came from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    /// RSV1 was set: the payload is compressed.
    Compressed(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A Close frame; 1005 if it had no code.
    Close(u16, String),
    /// The server has ended its side.
    Fin,
    /// The server has reset the connection.
    Reset,
}

/// A socket and what was read from it too early.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    /// The server has ended the stream.
    end: Option<Seen>,
}

/// An upgrade request with more header lines, each ended by CR LF.
pub(crate) fn upgrade(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

/// A masked frame; `first` holds FIN, the reserved bits and the opcode.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let key = [0x11, 0x22, 0x33, 0x44];
    let payload = payload.as_ref();
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A header in the shortest form that announces a masked payload; without the key.
pub(crate) fn header(first: u8, len: u64) -> Vec<u8> {
    match len {
        0..=125 => vec![first, 0x80 | len as u8],
        126..=0xffff => [&[first, 0xfe][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xff][..], &len.to_be_bytes()].concat(),
    }
}

/// The payload of a Close frame.
pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

impl Wire {
    /// A connection on which nothing is said yet.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        Wire::over(TcpStream::connect(address).unwrap())
    }

    /// A connection that holds little on its way in: its server is soon blocked.
    pub(crate) fn dial_narrow(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        Wire::over(socket.into())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }

    /// Holds back what is said until the next [`hang_up`](Self::hang_up), so that the last
    /// data and FIN are one segment.
    pub(crate) fn cork(&self) {
        socket2::SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Waits for so long for what comes.
    pub(crate) fn be_patient(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    /// Ends our side.
    pub(crate) fn hang_up(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Nothing comes for a while, and the connection stays.
    pub(crate) fn assert_silent(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.buffer), "");
        self.stream.set_read_timeout(Some(SILENCE)).unwrap();
        let read = self.stream.read(&mut [0; 64]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = read.map_err(|error| error.kind());
        assert!(matches!(kind, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "not silent: {kind:?}");
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Wire { stream, buffer: Vec::new(), end: None }
    }

    /// Says these bytes, all of them.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.say(frame(FIN | TEXT, text));
    }

    /// Completes the handshake of a path.
    pub(crate) fn shake_hands(self, path: &str) -> Self {
        self.shake_hands_with(path, "")
    }

    /// Completes the handshake with more header lines.
    pub(crate) fn shake_hands_with(mut self, path: &str, lines: &str) -> Self {
        self.say(upgrade(path, lines));
        assert_eq!(self.answer().status, 101);
        self
    }

    /// The next HTTP answer.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, used)) = Answer::parse(&self.buffer, self.end.is_some()) {
                self.buffer.drain(..used);
                return answer;
            }
            assert_eq!(self.end, None, "no whole answer: {:?}", String::from_utf8_lossy(&self.buffer));
            self.read_more();
        }
    }

    /// The next frame, or the end of the stream.
    pub(crate) fn next(&mut self) -> Seen {
        loop {
            match self.take() {
                Some(seen) => return seen,
                None => self.read_more(),
            }
        }
    }

    /// The next frame or end, as far as it was read already.
    pub(crate) fn take(&mut self) -> Option<Seen> {
        if let Some((seen, used)) = parse(&self.buffer) {
            self.buffer.drain(..used);
            return Some(seen);
        }
        assert!(self.end.is_none() || self.buffer.is_empty(), "the stream ended inside a frame");
        self.end.clone()
    }

    /// As [`next`](Self::next), but answers pings and skips them.
    pub(crate) fn next_message(&mut self) -> Seen {
        loop {
            match self.next() {
                Seen::Ping(payload) => self.say(frame(FIN | PONG, payload)),
                seen => return seen,
            }
        }
    }

    /// All frames to the end of the stream, which comes last.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            all.push(self.next());
            if matches!(all.last(), Some(Seen::Fin | Seen::Reset)) {
                return all;
            }
        }
    }

    /// What has come and was not taken begins with this.
    pub(crate) fn is_begun_with(&self, text: &str) -> bool {
        self.buffer.starts_with(text.as_bytes())
    }

    /// All bytes to the end of the stream, also those of an incomplete frame.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        while self.end.is_none() {
            self.read_more();
        }
        std::mem::take(&mut self.buffer)
    }

    /// Sends a text and gets it back.
    pub(crate) fn assert_echo(&mut self, text: &str) {
        self.text(text);
        assert_eq!(self.next_message(), Seen::Text(text.into()));
    }

    pub(crate) fn read_more(&mut self) {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.end = Some(Seen::Fin),
            Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.end = Some(Seen::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.end = Some(Seen::Reset),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("nothing came: {error}; unread: {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }
}

/// One unmasked frame from the front, and its length.
fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(second & 0x80, 0, "a server's frame is masked");
    let (len, rest) = match second {
        126 => rest.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len) as usize, rest))?,
        len => (usize::from(len), rest),
    };
    let payload = rest.get(..len)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let seen = match first {
        0x81 => Seen::Text(text(payload)),
        0x82 => Seen::Binary(payload.to_vec()),
        0xc1 | 0xc2 => Seen::Compressed(payload.to_vec()),
        0x88 => match payload.split_first_chunk() {
            Some((code, reason)) => Seen::Close(u16::from_be_bytes(*code), text(reason)),
            None => Seen::Close(1005, String::new()),
        },
        0x89 => Seen::Ping(payload.to_vec()),
        0x8a => Seen::Pong(payload.to_vec()),
        other => panic!("no frame of a server begins with {other:#x}"),
    };
    Some((seen, bytes.len() - rest.len() + len))
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
