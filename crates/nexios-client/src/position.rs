//! Places in the history of a room.

use std::fmt;
use std::str::FromStr;

/// A place in a room's history, as the server says it: `EPOCH-OFFSET-NONCE`.
///
/// ```
/// let position: nexios_client::Position = "1f-42-000102030405060708090a0b0c0d0e0f".parse().unwrap();
/// assert_eq!((position.epoch(), position.offset()), (0x1f, 42));
/// assert_eq!(position.to_string(), "1f-42-000102030405060708090a0b0c0d0e0f");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    epoch: Box<str>,
    offset: u64,
    nonce: Box<str>,
}

/// What was written is no position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a position is EPOCH-OFFSET-NONCE, as the server has said it")]
pub struct InvalidPosition;

impl Position {
    /// Which count of the broker: offsets of two counts have nothing to do with each other.
    pub fn epoch(&self) -> u64 {
        // Sixteen digits at most, as it was parsed.
        u64::from_str_radix(&self.epoch, 16).unwrap_or_default()
    }

    /// The number of the message before it; 0 at the beginning.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Behind another message of the same count.
    pub(crate) fn advance(&mut self, offset: u64, nonce: &str) {
        self.offset = offset;
        self.nonce = nonce.into();
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.offset, self.nonce)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, rest) = text.split_once('-').ok_or(InvalidPosition)?;
        let (offset, nonce) = rest.split_once('-').ok_or(InvalidPosition)?;
        let is_hex = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !is_hex(epoch, 16) || !is_hex(nonce, 32) {
            return Err(InvalidPosition);
        }
        let offset = offset.parse().map_err(|_| InvalidPosition)?;
        Ok(Position { epoch: epoch.into(), offset, nonce: nonce.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "1-2", "x-1-00", "1-x-00", "1--1-00", "1-2-", "1-2-0g", "11112222333344445-1-00"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
    }
}
