//! Connection ids: mostly random bits, so that nobody guesses another's.

use std::fmt;
use std::str::FromStr;

/// Names one connection for its whole life; printed as 32 hexadecimal digits.
///
/// 80 bits are random; the rest says where in this process the connection lives, so that
/// finding it needs no table.
///
/// ```
/// use nexios_engine::ConnectionId;
/// let id: ConnectionId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Two halves: a `u128` would be aligned to 16 bytes.
    high: u64,
    low: u64,
}

/// The random bits of an id: all that a connection has to remember of it.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u8; 10]);

/// The text is not a connection id: 32 hexadecimal digits are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a connection id is 32 hexadecimal digits")]
pub struct InvalidConnectionId;

impl ConnectionId {
    pub(crate) fn new(Secret(secret): Secret, token: u32, shard: u16) -> Self {
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&secret);
        bytes[10..14].copy_from_slice(&token.to_be_bytes());
        bytes[14..].copy_from_slice(&shard.to_be_bytes());
        ConnectionId::from_bits(u128::from_be_bytes(bytes))
    }

    /// The index of the shard that it lives on.
    pub fn shard(self) -> usize {
        usize::from(self.low as u16)
    }

    fn from_bits(bits: u128) -> Self {
        ConnectionId { high: (bits >> 64) as u64, low: bits as u64 }
    }

    pub(crate) fn token(self) -> u32 {
        (self.low >> 16) as u32
    }
}

impl Secret {
    /// From the operating system.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 10];
        if getrandom::fill(&mut bytes).is_err() {
            // Only where the kernel has no random source at all; unique still matters.
            fastrand::fill(&mut bytes);
        }
        Secret(bytes)
    }

    /// Some of its bits, for what stays within the shard.
    pub(crate) fn serial(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_ne_bytes([a, b, c, d])
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, InvalidConnectionId> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = if hex { u128::from_str_radix(text, 16).ok() } else { None };
        value.map(ConnectionId::from_bits).ok_or(InvalidConnectionId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_connection_lives() {
        let id = ConnectionId::new(Secret::random(), 70_000, 3);
        assert_eq!((id.shard(), id.token()), (3, 70_000));
        assert_ne!(id, ConnectionId::new(Secret::random(), 70_000, 3));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "+0000000000000000000000000000001", "0001", "zz"] {
            assert_eq!(text.parse::<ConnectionId>(), Err(InvalidConnectionId), "{text}");
        }
    }
}
