//! Frames byte by byte, and what a connection makes of them.

use nexios_protocol::{
    Agreed, CloseState, Codec, Connection, FrameHeader, Limits, OpCode, ProtocolError, Received, Role, apply_mask,
};

/// The first bytes of frames.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = FIN | 8;
pub(crate) const PING: u8 = FIN | 9;
pub(crate) const PONG: u8 = FIN | 10;

pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// No window is kept, none is restricted.
pub(crate) const NO_TAKEOVER: Agreed = Agreed {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

/// All windows are kept, none is restricted.
pub(crate) const TAKEOVER: Agreed =
    Agreed { server_no_context_takeover: false, client_no_context_takeover: false, ..NO_TAKEOVER };

/// A received event, detached from its buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// All that a connection did with its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    /// Opcodes and payloads of the frames that it wrote, unmasked: keys are random.
    pub(crate) answers: Vec<(OpCode, Vec<u8>)>,
    pub(crate) error: Option<ProtocolError>,
    pub(crate) state: CloseState,
}

/// A frame from its first byte; nothing about it is checked.
pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { fin: true, rsv1: false, opcode: OpCode::Text, payload_len: payload.len() as u64, mask };
    let (bytes, len) = header.encode();
    let mut out = bytes[..len].to_vec();
    out[0] = first;
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[len..], key, 0);
    }
    out
}

/// The key that frames to this role need.
pub(crate) fn key_to(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some(KEY)
}

pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    }
}

/// Feeds pieces to a fresh connection.
pub(crate) fn outcome<'a>(
    role: Role,
    limits: Limits,
    deflate: Option<Agreed>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut connection = Connection::new(role, deflate);
    let (mut seen, mut out, mut codec) = (Vec::new(), Vec::new(), Codec::new());
    let mut error = None;
    for piece in pieces {
        if let Err(failed) = feed(&mut connection, &limits, &mut codec, piece, &mut seen, &mut out) {
            error = Some(failed);
            break;
        }
    }
    Outcome { seen, answers: frames(&out), error, state: connection.close_state() }
}

/// Feeds one piece until all of it is used, as an owner of sockets does.
pub(crate) fn feed(
    connection: &mut Connection,
    limits: &Limits,
    codec: &mut Codec,
    piece: &[u8],
    seen: &mut Vec<Seen>,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let mut input = piece.to_vec();
    let mut rest = &mut input[..];
    loop {
        let len = rest.len();
        let (used, received) = connection.receive(rest, out, limits, codec)?;
        assert!(used <= len);
        let got_nothing = received.is_none();
        seen.extend(received.map(detach));
        rest = &mut input[piece.len() - len + used..];
        if rest.is_empty() {
            return Ok(());
        }
        assert!(used > 0 || !got_nothing, "no progress");
    }
}

fn detach(received: Received<'_>) -> Seen {
    match received {
        Received::Text(text) => Seen::Text(text.into_owned()),
        Received::Binary(bytes) => Seen::Binary(bytes.into_owned()),
        Received::Ping(payload) => Seen::Ping(payload.to_vec()),
        Received::Pong(payload) => Seen::Pong(payload.to_vec()),
        Received::Close(frame) => Seen::Close(frame.map(|frame| (frame.code.get(), frame.reason.to_owned()))),
    }
}

/// The frames in these bytes, all of them whole.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(OpCode, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, start) = FrameHeader::parse(bytes).unwrap().expect("a whole header");
        let end = start + header.payload_len as usize;
        let mut payload = bytes[start..end].to_vec();
        apply_mask(&mut payload, header.mask.unwrap_or_default(), 0);
        frames.push((header.opcode, payload));
        bytes = &bytes[end..];
    }
    frames
}

/// What a message becomes on its own, compressed by ourselves.
pub(crate) fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Codec::new().compress(15, 6, payload, &mut out);
    out
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        // Xorshift, 32 bits.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as u8
    };
    (0..len).map(|_| next()).collect()
}
