//! A connection without I/O, either role: answers pings, closes in every order (RFC 6455 §7).

use crate::close::CloseFrame;
use crate::deflate::{Agreed, Codec};
use crate::error::ProtocolError;
use crate::frame::{CONTROL_BYTES_MAX, write_frame};
use crate::limits::Limits;
use crate::message::{Rules, Whole};
use crate::opcode::OpCode;
use crate::progress::{self, Kept};
use crate::received::Received;
use crate::role::Role;
use crate::short::{Short, parse_short};

/// How far the closing handshake is (RFC 6455 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseState {
    /// Nobody has closed.
    Open,
    /// We have sent a Close frame and wait for the peer's.
    Sent,
    /// Both Close frames are through.
    Closed,
    /// The peer broke the protocol; our Close frame is sent, nothing more is read.
    Failed,
}

/// A ping or pong over 125 bytes (RFC 6455 §5.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a control frame carries at most 125 bytes, not {0}")]
pub struct ControlTooLong(pub usize);

/// One side of an open WebSocket.
///
/// Feed what was read to [`receive`](Self::receive) until all of it is used; write what the
/// `send_` methods append; hang up once [`is_closed`](Self::is_closed) and all is written.
///
/// ```
/// use nexios_protocol::{Codec, Connection, Limits, Received, Role};
/// let mut codec = Codec::new();
/// let (mut client, mut server) = (
///     Connection::new(Role::Client, None),
///     Connection::new(Role::Server, None),
/// );
/// let mut wire = Vec::new();
/// client.send_ping(&mut wire, b"hi").unwrap();
/// let mut answer = Vec::new();
/// let (used, event) = server.receive(&mut wire, &mut answer, &Limits::default(), &mut codec).unwrap();
/// assert_eq!((used, event), (8, Some(Received::Ping(b"hi"))));
/// assert_eq!(answer, b"\x8a\x02hi");
/// ```
pub struct Connection {
    kept: Kept,
    rules: Rules,
    close: CloseState,
}

impl Connection {
    /// A connection whose handshake is done.
    pub fn new(role: Role, deflate: Option<Agreed>) -> Self {
        let (kept, rules) = Rules::new(role, deflate.as_ref());
        Connection { kept, rules, close: CloseState::Open }
    }

    /// Takes input from the front: how many bytes were used, and what was received.
    /// Pongs and the answering Close frame are appended to `out`. The limits are the caller's to
    /// keep, so that many connections can share them.
    ///
    /// Once we have sent a Close frame, the peer's data frames are thrown away; once both have,
    /// all input is.
    ///
    /// # Errors
    /// [`ProtocolError`]; the Close frame that tells the peer has been appended to `out`.
    #[inline]
    pub fn receive<'a>(
        &'a mut self,
        input: &'a mut [u8],
        out: &mut Vec<u8>,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<(usize, Option<Received<'a>>), ProtocolError> {
        let len = input.len();
        if self.is_closed() {
            return Ok((len, None));
        }
        let (close, role) = (&mut self.close, self.rules.role);
        let (used, received) = match self.rules.decode(&mut self.kept, input, limits, codec) {
            Ok(decoded) => decoded,
            Err(error) => {
                if *close == CloseState::Open {
                    write_close(out, role, Some(CloseFrame { code: error.close_code(), reason: "" }));
                }
                *close = CloseState::Failed;
                return Err(error);
            }
        };
        let sent = *close == CloseState::Sent;
        match &received {
            Some(Received::Text(_) | Received::Binary(_)) if sent => return Ok((used, None)),
            Some(Received::Ping(payload)) if !sent => write_frame(out, OpCode::Pong, true, false, payload, key(role)),
            Some(Received::Close(frame)) => {
                if !sent {
                    write_close(out, role, frame.map(|frame| CloseFrame { code: frame.code, reason: "" }));
                }
                *close = CloseState::Closed;
            }
            _ => {}
        }
        Ok((used, received))
    }

    /// The hot path of [`receive`](Self::receive): lends the message at the front of `input` to `take`,
    /// where it is all there in one plain frame and breaks no rule; returns how many bytes it took.
    /// `None`: nothing was taken, and `receive` tells what it is.
    ///
    /// ```
    /// use nexios_protocol::{Connection, Limits, Role, Whole};
    /// let mut client = Connection::new(Role::Client, None);
    /// let mut input = *b"\x81\x05Hello\x89\x00";
    /// let mut take = |message: Whole<'_>| assert_eq!(message, Whole::Text("Hello"));
    /// assert_eq!(client.receive_whole(&mut input, &Limits::default(), &mut take), Some(7));
    /// assert_eq!(client.receive_whole(&mut input[7..], &Limits::default(), &mut take), None);
    /// ```
    #[inline]
    pub fn receive_whole(&mut self, input: &mut [u8], limits: &Limits, take: impl FnOnce(Whole<'_>)) -> Option<usize> {
        if self.close != CloseState::Open {
            return None;
        }
        self.rules.decode_whole(&self.kept, input, limits, take)
    }

    /// As [`receive_whole`](Self::receive_whole) of what a client sends, by value where it is short: the message,
    /// and how many bytes it took. Of `buffer` the first `left` bytes are input; what follows may be anything, and
    /// saves looking at each byte by itself.
    #[inline]
    pub fn receive_short(&self, buffer: &[u8], left: usize, limits: &Limits) -> Option<(Short, usize)> {
        if self.close != CloseState::Open || !self.rules.may_begin(&self.kept) || self.rules.role != Role::Server {
            return None;
        }
        let (short, used) = parse_short(buffer, left)?;
        limits.message_bytes_max.is_none_or(|max| used <= max).then_some((short, used))
    }

    /// Whether [`receive_whole`](Self::receive_whole) would take the front of `input`, if it is a text in UTF-8.
    #[inline]
    pub fn has_whole(&self, input: &[u8], limits: &Limits) -> bool {
        self.close == CloseState::Open && self.rules.has_whole(&self.kept, input, limits)
    }

    /// Appends an uncompressed message in one frame; nothing once we have closed.
    pub fn send_message(&mut self, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
        self.send_fragment(out, opcode, true, payload);
    }

    /// Appends one fragment; the caller keeps the order of RFC 6455 §5.4.
    pub fn send_fragment(&mut self, out: &mut Vec<u8>, opcode: OpCode, fin: bool, payload: &[u8]) {
        self.send_raw(out, opcode, fin, false, payload);
    }

    /// Appends a message whose payload is compressed already (RFC 7692 §6).
    pub fn send_compressed(&mut self, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
        self.send_raw(out, opcode, true, true, payload);
    }

    fn send_raw(&mut self, out: &mut Vec<u8>, opcode: OpCode, fin: bool, rsv1: bool, payload: &[u8]) {
        if self.close == CloseState::Open {
            write_frame(out, opcode, fin, rsv1, payload, key(self.rules.role));
        }
    }

    /// Appends a ping.
    ///
    /// # Errors
    /// [`ControlTooLong`]
    pub fn send_ping(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), ControlTooLong> {
        self.send_control(out, OpCode::Ping, payload)
    }

    /// Appends an unasked pong.
    ///
    /// # Errors
    /// [`ControlTooLong`]
    pub fn send_pong(&mut self, out: &mut Vec<u8>, payload: &[u8]) -> Result<(), ControlTooLong> {
        self.send_control(out, OpCode::Pong, payload)
    }

    fn send_control(&mut self, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) -> Result<(), ControlTooLong> {
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(ControlTooLong(payload.len()));
        }
        self.send_raw(out, opcode, true, false, payload);
        Ok(())
    }

    /// Appends our Close frame, once; later calls do nothing.
    pub fn send_close(&mut self, out: &mut Vec<u8>, frame: Option<CloseFrame<'_>>) {
        if self.close == CloseState::Open {
            write_close(out, self.rules.role, frame);
            self.close = CloseState::Sent;
            self.rules.discard_messages(&mut self.kept);
        }
    }

    /// How far the closing handshake is.
    pub fn close_state(&self) -> CloseState {
        self.close
    }

    /// Whether nothing more is to be received.
    pub fn is_closed(&self) -> bool {
        matches!(self.close, CloseState::Closed | CloseState::Failed)
    }

    /// Whether a message has begun and is not complete.
    pub fn is_mid_message(&self) -> bool {
        progress::is_mid_message(&self.kept)
    }

    /// Returns how many bytes of an unfinished message are kept.
    pub fn held_bytes(&self) -> usize {
        progress::held_bytes(&self.kept)
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_mid_frame(&self) -> bool {
        progress::is_mid_frame(&self.kept)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("role", &self.rules.role).field("close", &self.close).finish_non_exhaustive()
    }
}

fn write_close(out: &mut Vec<u8>, role: Role, frame: Option<CloseFrame<'_>>) {
    let mut payload = Vec::new();
    if let Some(frame) = frame {
        payload.extend_from_slice(&frame.code.get().to_be_bytes());
        payload.extend_from_slice(crate::close::truncate_reason(frame.reason).as_bytes());
    }
    write_frame(out, OpCode::Close, true, false, &payload, key(role));
}

/// A fresh, unpredictable masking key for a client's frame (RFC 6455 §5.3).
fn key(role: Role) -> Option<[u8; 4]> {
    match role {
        Role::Server => None,
        Role::Client => {
            let mut key = [0; 4];
            // Without a random source the frame is still well-formed; proxies are not at risk
            // on a machine that has none.
            let _ = getrandom::fill(&mut key);
            Some(key)
        }
    }
}
