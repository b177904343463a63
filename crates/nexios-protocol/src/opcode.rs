//! Frame opcodes (RFC 6455 §5.2).

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OpCode {
    /// The next fragment of a message.
    Continuation = 0,
    /// Text, or its first fragment.
    Text = 1,
    /// Bytes, or their first fragment.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// "Are you there?"
    Ping = 9,
    /// "I am here."
    Pong = 10,
}

impl OpCode {
    /// The opcode with this number; `None` for the reserved ones.
    pub const fn new(number: u8) -> Option<Self> {
        Some(match number {
            0 => OpCode::Continuation,
            1 => OpCode::Text,
            2 => OpCode::Binary,
            8 => OpCode::Close,
            9 => OpCode::Ping,
            10 => OpCode::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: never fragmented, at most 125 bytes (RFC 6455 §5.5).
    pub const fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}
