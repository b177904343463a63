//! Another implementation reads what we write, writes what we read, and refuses what we refuse.

use std::io::{self, Read, Write};

use nexios_protocol::{Connection, Limits, OpCode, ProtocolError, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode as TheirOpCode};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::wire::*;

const MESSAGE_BYTES_MAX: usize = 1 << 20;

fn limits() -> Limits {
    Limits { message_bytes_max: Some(MESSAGE_BYTES_MAX), fragments_max: None }
}

/// A socket in memory: reads run dry instead of ending.
#[derive(Default)]
struct Memory {
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.read += len;
        Ok(len)
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(role: Role, input: Vec<u8>) -> WebSocket<Memory> {
    let role = match role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocket::from_raw_socket(Memory { input, ..Memory::default() }, role, Some(config))
}

/// What tungstenite reads up to a Close frame, and why it gave up.
fn read_by_them(role: Role, input: &[u8]) -> (Vec<Seen>, Option<Error>) {
    let mut socket = theirs(role, input.to_vec());
    let mut seen = Vec::new();
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, None),
            Err(error) => return (seen, Some(error)),
        };
        seen.push(match message {
            Message::Text(text) => Seen::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Message::Ping(payload) => Seen::Ping(payload.to_vec()),
            Message::Pong(payload) => Seen::Pong(payload.to_vec()),
            Message::Close(frame) => {
                seen.push(Seen::Close(frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()))));
                return (seen, None);
            }
            Message::Frame(_) => panic!("never read"),
        });
    }
}

/// A message, the sizes of its fragments, or a control frame.
#[derive(Clone, Debug)]
enum Sent {
    Text(String, Vec<usize>),
    Binary(Vec<u8>, Vec<usize>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let sizes = || vec(0usize..100, 0..4);
    let bytes = prop_oneof![vec(any::<u8>(), 0..200), (60_000usize..70_000).prop_map(|len| vec![0x5a; len])];
    let one = prop_oneof![
        (".{0,60}", sizes()).prop_map(|(text, sizes)| Sent::Text(text, sizes)),
        (bytes, sizes()).prop_map(|(bytes, sizes)| Sent::Binary(bytes, sizes)),
        vec(any::<u8>(), 0..=125).prop_map(Sent::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Sent::Pong),
    ];
    vec(one, 0..8)
}

fn close() -> impl Strategy<Value = Option<(u16, String)>> {
    proptest::option::of((prop_oneof![Just(1000u16), Just(1011), 3000u16..5000], "[a-zä€]{0,40}"))
}

fn expected(sent: &[Sent], close: &Option<(u16, String)>) -> Vec<Seen> {
    let seen = sent.iter().cloned().map(|one| match one {
        Sent::Text(text, _) => Seen::Text(text),
        Sent::Binary(bytes, _) => Seen::Binary(bytes),
        Sent::Ping(payload) => Seen::Ping(payload),
        Sent::Pong(payload) => Seen::Pong(payload),
    });
    seen.chain([Seen::Close(close.clone())]).collect()
}

/// The pieces of a payload, at least one.
fn pieces<'a>(mut payload: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes {
        let (piece, rest) = payload.split_at((*size).min(payload.len()));
        pieces.push(piece);
        payload = rest;
    }
    pieces.push(payload);
    pieces
}

fn write_by_them(role: Role, sent: &[Sent], close: &Option<(u16, String)>) -> Vec<u8> {
    let mut socket = theirs(role, Vec::new());
    for one in sent {
        match one {
            Sent::Text(text, sizes) => fragments_by_them(&mut socket, Data::Text, text.as_bytes(), sizes),
            Sent::Binary(bytes, sizes) => fragments_by_them(&mut socket, Data::Binary, bytes, sizes),
            Sent::Ping(payload) => socket.send(Message::Ping(payload.clone().into())).unwrap(),
            Sent::Pong(payload) => socket.send(Message::Pong(payload.clone().into())).unwrap(),
        }
    }
    let frame = close.clone().map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
    socket.close(frame).unwrap();
    socket.get_mut().output.split_off(0)
}

fn fragments_by_them(socket: &mut WebSocket<Memory>, first: Data, payload: &[u8], sizes: &[usize]) {
    let pieces = pieces(payload, sizes);
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = TheirOpCode::Data(if index == 0 { first } else { Data::Continue });
        let frame = Frame::message(piece.to_vec(), opcode, index + 1 == pieces.len());
        socket.send(Message::Frame(frame)).unwrap();
    }
}

fn write_by_us(role: Role, sent: &[Sent], close: &Option<(u16, String)>) -> Vec<u8> {
    let (mut connection, mut out) = (Connection::new(role, None), Vec::new());
    for one in sent {
        match one {
            Sent::Text(text, sizes) => send_pieces(&mut connection, &mut out, OpCode::Text, text.as_bytes(), sizes),
            Sent::Binary(bytes, sizes) => send_pieces(&mut connection, &mut out, OpCode::Binary, bytes, sizes),
            Sent::Ping(payload) => connection.send_ping(&mut out, payload).unwrap(),
            Sent::Pong(payload) => connection.send_pong(&mut out, payload).unwrap(),
        }
    }
    let frame = close.as_ref().map(|(code, reason)| nexios_protocol::CloseFrame {
        code: nexios_protocol::CloseCode::new(*code).unwrap(),
        reason,
    });
    connection.send_close(&mut out, frame);
    out
}

fn send_pieces(connection: &mut Connection, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], sizes: &[usize]) {
    let pieces = pieces(payload, sizes);
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = if index == 0 { opcode } else { OpCode::Continuation };
        connection.send_fragment(out, opcode, index + 1 == pieces.len(), piece);
    }
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn we_read_what_they_write(role in roles(), sent in sent(), close in close()) {
        let bytes = write_by_them(other(role), &sent, &close);
        let ours = outcome(role, limits(), None, bytes.chunks(1000));
        prop_assert_eq!(ours.error, None);
        prop_assert_eq!(ours.seen, expected(&sent, &close));
    }

    #[test]
    fn they_read_what_we_write(role in roles(), sent in sent(), close in close()) {
        let bytes = write_by_us(other(role), &sent, &close);
        let (seen, error) = read_by_them(role, &bytes);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(seen, expected(&sent, &close));
    }

    #[test]
    fn they_take_our_answers(role in roles(), sent in sent(), close in close()) {
        let bytes = write_by_them(other(role), &sent, &close);
        let (mut ours, mut answers) = (Connection::new(role, None), Vec::new());
        feed(&mut ours, &limits(), &mut Default::default(), &bytes, &mut Vec::new(), &mut answers).unwrap();
        let (seen, error) = read_by_them(other(role), &answers);
        prop_assert!(error.is_none(), "{:?}", error);
        let pings = sent.iter().filter_map(|one| match one {
            Sent::Ping(payload) => Some(Seen::Pong(payload.clone())),
            _ => None,
        });
        let echoed = Seen::Close(close.map(|(code, _)| (code, String::new())));
        prop_assert_eq!(seen, pings.chain([echoed]).collect::<Vec<_>>());
    }
}

/// Why we may refuse what tungstenite 0.30 takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stricter {
    /// It takes lengths in more bytes than needed; RFC 6455 §5.2 asks for the fewest.
    LongLength,
    /// It hands out a forbidden close code as 1002 and echoes that; RFC 6455 §7.4.
    CloseCode,
    /// It judges a frame once all of it is there; we judge by the header, and text as it comes.
    Earlier,
}

fn why_stricter(error: ProtocolError, input: &[u8]) -> Option<Stricter> {
    match error {
        ProtocolError::PayloadLength => Some(Stricter::LongLength),
        ProtocolError::CloseFrame => Some(Stricter::CloseCode),
        _ => ends_within_a_frame(input).then_some(Stricter::Earlier),
    }
}

/// By lengths alone, in any of their forms.
fn ends_within_a_frame(mut input: &[u8]) -> bool {
    while input.len() >= 2 {
        let (short, masked) = (input[1] & 0x7f, input[1] & 0x80 != 0);
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + length_bytes + if masked { 4 } else { 0 };
        if input.len() < header {
            return true;
        }
        let long = input[2..2 + length_bytes].iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        let len = if length_bytes == 0 { u64::from(short) } else { long };
        if len > (input.len() - header) as u64 {
            return true;
        }
        input = &input[header + len as usize..];
    }
    !input.is_empty()
}

/// Both read the same bytes; returns the reason where only we refuse them.
fn compare(role: Role, input: &[u8]) -> Option<Stricter> {
    let ours = outcome(role, limits(), None, [input]);
    let (seen, error) = read_by_them(role, input);
    let Some(our_error) = ours.error else {
        assert!(error.is_none(), "only they refuse {input:02x?}: {error:?}");
        assert_eq!(as_they_see_it(ours.seen), seen, "{input:02x?}");
        return None;
    };
    if error.is_some() && ours.seen == seen {
        return None;
    }
    assert!(seen.starts_with(&ours.seen), "{input:02x?}");
    let reason = why_stricter(our_error, input);
    assert!(reason.is_some(), "only we refuse {input:02x?}: {our_error:?}");
    reason
}

/// 1014 was registered after tungstenite's list was written: it hands out 1002 instead.
fn as_they_see_it(mut seen: Vec<Seen>) -> Vec<Seen> {
    if let Some(Seen::Close(Some((code @ 1014, reason)))) = seen.last_mut() {
        (*code, *reason) = (1002, "Protocol violation".to_owned());
    }
    seen
}

#[test]
fn a_bad_gateway_is_a_close_code_here() {
    let bytes = frame(CLOSE, None, &1014u16.to_be_bytes());
    let ours = outcome(Role::Client, limits(), None, [&bytes[..]]);
    assert_eq!(ours.seen, [Seen::Close(Some((1014, String::new())))]);
    assert_eq!(compare(Role::Client, &bytes), None);
}

#[test]
fn malformed_streams_are_refused_by_both() {
    let both = None;
    let table: Vec<(Vec<u8>, Option<Stricter>)> = vec![
        (vec![0x83, 0x00], both),
        (vec![0x8b, 0x00], both),
        (vec![0xc1, 0x00], both),
        (vec![0xa1, 0x00], both),
        (vec![0x91, 0x00], both),
        (vec![0x80, 0x00], both),
        (vec![0x00, 0x00], both),
        (vec![0x09, 0x00], both),
        (vec![0x08, 0x00], both),
        (vec![0x01, 0x00, 0x81, 0x00], both),
        (vec![0x01, 0x00, 0x02, 0x00], both),
        (vec![0x88, 0x01, 0x03], both),
        (vec![0x88, 0x03, 0x03, 0xe8, 0xff], both),
        (vec![0x81, 0x01, 0xff], both),
        (vec![0x81, 0x02, 0xe2, 0x82], both),
        (vec![0x01, 0x01, 0xe2, 0x80, 0x01, 0x00], both),
        (vec![0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], both),
        (vec![0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], both),
        ([&[0x89, 126, 0, 126][..], &[0; 126]].concat(), both),
        (vec![0x82, 126, 0, 1, 0], Some(Stricter::LongLength)),
        (vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0], Some(Stricter::LongLength)),
        (vec![0x88, 0x02, 0x03, 0xed], Some(Stricter::CloseCode)),
        (vec![0x88, 0x02, 0x00, 0x00], Some(Stricter::CloseCode)),
        (vec![0x88, 0x02, 0x13, 0x88], Some(Stricter::CloseCode)),
        (vec![0x81, 0x05, 0xff], Some(Stricter::Earlier)),
        (vec![0x09, 0x05], Some(Stricter::Earlier)),
    ];
    for (input, expected) in table {
        assert!(outcome(Role::Client, limits(), None, [&input[..]]).error.is_some(), "{input:02x?}");
        assert_eq!(compare(Role::Client, &input), expected, "{input:02x?}");
    }
    let unmasked_to_a_server = frame(FIN | TEXT, None, b"hi");
    let masked_to_a_client = frame(FIN | TEXT, Some(KEY), b"hi");
    for (role, input) in [(Role::Server, unmasked_to_a_server), (Role::Client, masked_to_a_client)] {
        assert_eq!(outcome(role, limits(), None, [&input[..]]).error, Some(ProtocolError::Masking));
        assert_eq!(compare(role, &input), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_damaged_stream_is_refused_by_both_or_for_a_known_reason(
        role in roles(), sent in sent().prop_map(short), close in close(),
        damage in vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        // Most damage is to be where it hurts: in the first bytes of frames.
        early in any::<bool>(),
    ) {
        let mut bytes = write_by_us(other(role), &sent, &close);
        for (index, bit) in damage {
            let within = if early { bytes.len().min(8) } else { bytes.len() };
            bytes[index.index(within)] ^= 1 << bit;
        }
        compare(role, &bytes);
    }

    #[test]
    fn noise_is_refused_by_both_or_for_a_known_reason(role in roles(), bytes in vec(any::<u8>(), 0..60)) {
        compare(role, &bytes);
    }
}

fn short(mut sent: Vec<Sent>) -> Vec<Sent> {
    for one in &mut sent {
        if let Sent::Binary(bytes, _) = one {
            bytes.truncate(140);
        }
    }
    sent
}
