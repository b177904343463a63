//! Rooms with history: what a log is, and what engines and nodes say about one.
//!
//! A log is a room's history at the broker. The broker numbers what is appended, in one order
//! for all publishers, keeps it, and sends it to the subscribers of the room's channel in the
//! same step. An epoch begins when the broker begins to count anew: offsets of two epochs have
//! nothing to do with each other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use nexios_protocol::escaped;

/// How long a broker remembers a key, and an append that is repeated is looked for.
pub(crate) const KEY_KEPT: Duration = Duration::from_secs(300);
/// The newest entries of a log among which an append that is repeated is looked for.
pub(crate) const AGAIN_LEN_MAX: usize = 250_000;
/// The most messages that a room may remember.
const SIZE_MAX: usize = 1_000_000;
/// A page ends with the entry by which its envelopes have so many bytes.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;
/// The first byte of an entry on a channel, where an envelope has its version.
const ENTRY: u8 = 2;
/// Epoch, offset, the one before, time and nonce.
const ENTRY_HEAD: usize = 1 + 8 + 8 + 8 + 8 + 16;

/// The limits of a room's history: so many messages, each for so long.
///
/// ```
/// use std::time::Duration;
/// use nexios::broker::History;
/// let history = History::new(1000, Duration::from_secs(3600));
/// assert_eq!(history, History::default());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct History {
    pub(crate) size: usize,
    pub(crate) ttl: Duration,
}

/// A history that no room can have.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistory {
    /// So many messages.
    #[error("history size {0} is out of range (1-{SIZE_MAX})")]
    Size(usize),
    /// So many seconds.
    #[error("history ttl {0} is too short: it has to be at least 1 second")]
    Ttl(f64),
}

/// Sixteen random bytes of a publisher that tell one entry from every other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Nonce(pub(crate) [u8; 16]);

/// A place in a room's history: behind the entry with this offset and nonce.
///
/// As text it is `EPOCH-OFFSET-NONCE`, the epoch and the nonce in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Position {
    /// Which count of the broker.
    pub epoch: u64,
    /// The number of the entry in that count; 0 before the first.
    pub offset: u64,
    /// The entry's nonce, which shows that it is the same entry still.
    pub nonce: Nonce,
}

/// A room's log at the broker.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    /// The channel of the room's topic.
    pub channel: Arc<str>,
    pub(crate) history: History,
}

/// Something to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The log.
    pub log: Log,
    /// The nonce of the entry.
    pub nonce: Nonce,
    /// Within five minutes the second with the same key is not appended.
    pub key: Option<Arc<str>>,
    /// It may have been appended before: a session was lost while it was under way. The broker
    /// looks for the nonce among what it still has.
    pub again: bool,
    /// The entry's content.
    pub envelope: Bytes,
}

/// The result of an [`Append`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The position of the entry.
    pub position: Position,
    /// It was there before.
    pub duplicate: bool,
    /// The number of replicas that have it in addition to the broker that was asked.
    pub replicas: u32,
}

/// One entry of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The epoch of the log.
    pub epoch: u64,
    /// The offset of the entry.
    pub offset: u64,
    /// The offset of the entry before it; 0 for the first. Not every engine counts densely.
    pub previous: u64,
    /// When it was appended, in milliseconds since 1970 by the broker's clock.
    pub time_ms: u64,
    /// The nonce of the entry.
    pub nonce: Nonce,
    /// The entry's content.
    pub envelope: Bytes,
}

/// Which entries of a log are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Span {
    /// The oldest behind a position, at most so many.
    After(Position, usize),
    /// The newest, at most so many.
    Newest(usize),
    /// The oldest that are not past their time, at most so many.
    Oldest(usize),
}

/// Entries of a log, oldest first: as many as were asked for, or fewer where they are long
/// (`PAGE_BYTES_MAX`); but at least one, if there is one. None where nothing is recovered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Behind the newest entry that the log has, at the time of asking.
    pub top: Position,
    /// Whether nothing is missing between the position asked for and the first entry: the entry
    /// at that position is there with its nonce, or it is the newest that was ever appended.
    /// Where an engine cannot know, `false`. Always `true` for [`Span::Newest`] and [`Span::Oldest`].
    pub recovered: bool,
    /// The entries.
    pub entries: Vec<Entry>,
}

impl History {
    /// The most messages that a room may remember.
    pub const SIZE_MAX: usize = SIZE_MAX;

    /// The newest `size` messages, each for `ttl`.
    ///
    /// # Panics
    /// Never; a size of 0 counts as 1, a time below a second as a second. A size over [`SIZE_MAX`](Self::SIZE_MAX)
    /// counts as that, and an error is logged: [`try_new`](Self::try_new) returns it.
    pub fn new(size: usize, ttl: Duration) -> Self {
        History::try_new(size.max(1), ttl.max(Duration::from_secs(1))).unwrap_or_else(|error| {
            tracing::error!(error = %escaped(&error), "a room stores fewer messages than the application wants");
            History { size: SIZE_MAX, ttl: ttl.max(Duration::from_secs(1)) }
        })
    }

    /// The newest `size` messages, each for `ttl`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nexios::broker::History;
    /// let error = History::try_new(2_000_000, Duration::from_secs(60)).unwrap_err();
    /// assert_eq!(error.to_string(), "history size 2000000 is out of range (1-1000000)");
    /// ```
    ///
    /// # Errors
    /// A size of 0 or over [`SIZE_MAX`](Self::SIZE_MAX), a time below a second.
    pub fn try_new(size: usize, ttl: Duration) -> Result<Self, InvalidHistory> {
        match (size, ttl) {
            (size, _) if size == 0 || size > SIZE_MAX => Err(InvalidHistory::Size(size)),
            (_, ttl) if ttl < Duration::from_secs(1) => Err(InvalidHistory::Ttl(ttl.as_secs_f64())),
            _ => Ok(History { size, ttl }),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        History::new(1000, Duration::from_secs(3600))
    }
}

impl Entry {
    /// Behind this entry.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset, nonce: self.nonce }
    }

    /// As it travels on a channel.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(ENTRY_HEAD + self.envelope.len());
        out.put_u8(ENTRY);
        out.put_u64(self.epoch);
        out.put_u64(self.offset);
        out.put_u64(self.previous);
        out.put_u64(self.time_ms);
        out.put_slice(&self.nonce.0);
        out.put_slice(&self.envelope);
        out.freeze()
    }

    /// An entry, if what came on a channel is one and no envelope.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Entry> {
        let head = bytes.first_chunk::<ENTRY_HEAD>().filter(|head| head[0] == ENTRY)?;
        let number = |at: usize| head[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&head[33..]);
        Some(Entry {
            epoch: number(1),
            offset: number(9),
            previous: number(17),
            time_ms: number(25),
            nonce: Nonce(nonce),
            envelope: bytes.slice(ENTRY_HEAD..),
        })
    }
}

impl Nonce {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Only where the kernel has no random source at all; unique still matters.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        Nonce(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}-{}", self.epoch, self.offset, self.nonce)
    }
}

/// What was written is no position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a position is EPOCH-OFFSET-NONCE, as the server has said it")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let mut parts = text.split('-');
        let (Some(epoch), Some(offset), Some(nonce), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidPosition);
        };
        if nonce.len() != 32 {
            return Err(InvalidPosition);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?;
        let offset = offset.parse().map_err(|_| InvalidPosition)?;
        let nonce = u128::from_str_radix(nonce, 16).map_err(|_| InvalidPosition)?;
        Ok(Position { epoch, offset, nonce: Nonce(nonce.to_be_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(
            epoch: u64, offset: u64, previous: u64, time_ms: u64, nonce: [u8; 16], envelope: Vec<u8>,
        ) {
            let entry = Entry { epoch, offset, previous, time_ms, nonce: Nonce(nonce), envelope: envelope.into() };
            prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }

        #[test]
        fn a_position_is_read_as_it_was_written(epoch: u64, offset: u64, nonce: [u8; 16]) {
            let position = Position { epoch, offset, nonce: Nonce(nonce) };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn garbage_is_neither(bytes: Vec<u8>, text: String) {
            let _ = Entry::decode(&bytes.into());
            let _ = text.parse::<Position>();
        }
    }
}
