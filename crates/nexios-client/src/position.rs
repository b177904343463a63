//! Positions in the history of a room.

use std::fmt;
use std::str::FromStr;

/// The greatest number that every client can hold.
const OFFSET_MAX: u64 = (1 << 53) - 1;
const NONCE_DIGITS: usize = 32;

/// A position in a room's history, as the server sends it: `EPOCH-OFFSET-NONCE`.
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

/// A text that is not a position.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid position {0:?}: must be EPOCH-OFFSET-NONCE, as the server sent it")]
pub struct InvalidPosition(String);

impl Position {
    /// Returns the epoch. Offsets of two epochs cannot be compared.
    pub fn epoch(&self) -> u64 {
        // Sixteen digits at most, as it was parsed.
        u64::from_str_radix(&self.epoch, 16).unwrap_or_default()
    }

    /// Returns the offset of the last entry before the position; 0 at the beginning.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the position behind another entry of the same epoch.
    pub(crate) fn at(&self, offset: u64, nonce: &str) -> Result<Position, InvalidPosition> {
        if offset > OFFSET_MAX || nonce.len() != NONCE_DIGITS || !is_hex(nonce) {
            return Err(InvalidPosition(format!("{}-{offset}-{nonce}", self.epoch)));
        }
        Ok(Position { epoch: self.epoch.clone(), offset, nonce: nonce.into() })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.offset, self.nonce)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(text.chars().take(100).collect());
        let (epoch, rest) = text.split_once('-').ok_or_else(invalid)?;
        let (offset, nonce) = rest.split_once('-').ok_or_else(invalid)?;
        let is_number = (1..=16).contains(&offset.len()) && offset.bytes().all(|byte| byte.is_ascii_digit());
        if !(1..=16).contains(&epoch.len()) || !is_hex(epoch) || !is_number {
            return Err(invalid());
        }
        let offset = offset.parse().map_err(|_| invalid())?;
        let start = Position { epoch: epoch.into(), offset: 0, nonce: "".into() };
        start.at(offset, nonce).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_position_is_refused() {
        let nonce = "0".repeat(32);
        for text in ["", "1-2", "x-1-N", "1-x-N", "1--1-N", "1-+1-N", "1-2-", "1-2-0b", "11112222333344445-1-N"] {
            let text = text.replace('N', &nonce);
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        assert!(format!("1-9007199254740992-{nonce}").parse::<Position>().is_err());
        assert!(format!("1-9007199254740991-{nonce}").parse::<Position>().is_ok());
    }
}
