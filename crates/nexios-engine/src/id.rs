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

/// The text is not a connection id: 32 hexadecimal digits are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a connection id is 32 hexadecimal digits")]
pub struct InvalidConnectionId;

impl ConnectionId {
    /// A fresh id; its random bits are from the operating system.
    pub(crate) fn new(shard: u16, token: u32) -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Only where the kernel has no random source at all; unique still matters.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        let random = u128::from_ne_bytes(bytes) << 48;
        ConnectionId::from_bits(random | u128::from(token) << 16 | u128::from(shard))
    }

    /// The index of the shard that it lives on.
    pub fn shard(self) -> usize {
        usize::from(self.low as u16)
    }

    fn from_bits(bits: u128) -> Self {
        ConnectionId { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Tells this connection from others in the same slot.
    pub(crate) fn serial(self) -> u32 {
        self.high as u32
    }

    pub(crate) fn token(self) -> u32 {
        (self.low >> 16) as u32
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
        let id = ConnectionId::new(3, 70_000);
        assert_eq!((id.shard(), id.token()), (3, 70_000));
        assert_ne!(id, ConnectionId::new(3, 70_000));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "+0000000000000000000000000000001", "0001", "zz"] {
            assert_eq!(text.parse::<ConnectionId>(), Err(InvalidConnectionId), "{text}");
        }
    }
}
