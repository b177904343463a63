//! Positions before the first entry of a log, which no client can make up.
//!
//! Such a position has the offset 0 and no entry whose nonce could be compared. Its nonce is derived from a
//! secret of the broker instead, from the log's channel and from a number that changes when the log begins
//! another count. So a room that nobody has used has a position, and nothing is stored for it.

use std::fmt;

use sha1::{Digest, Sha1};

use crate::history::log::Nonce;

const SECRET_BYTES: usize = 32;

/// A broker's secret for positions before the first entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StartPositions([u8; SECRET_BYTES]);

impl StartPositions {
    pub(crate) fn random() -> Self {
        let mut secret = [0; SECRET_BYTES];
        let (first, last) = secret.split_at_mut(SECRET_BYTES / 2);
        first.copy_from_slice(&Nonce::random().0);
        last.copy_from_slice(&Nonce::random().0);
        StartPositions(secret)
    }

    /// Returns the secret that [`to_hex`](Self::to_hex) wrote.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut secret = [0; SECRET_BYTES];
        if text.len() != 2 * SECRET_BYTES || !text.is_ascii() {
            return None;
        }
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(StartPositions(secret))
    }

    #[cfg(any(feature = "nats", feature = "redis", test))]
    pub(crate) fn to_hex(&self) -> String {
        let mut text = String::with_capacity(2 * SECRET_BYTES);
        self.0.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text
    }

    /// Returns the nonce for a channel and one of its counts.
    ///
    /// The digest is taken twice: nothing can be appended to what was digested.
    pub(crate) fn nonce(&self, channel: &str, count: u64) -> Nonce {
        let inner = Sha1::new().chain_update(self.0).chain_update(count.to_be_bytes()).chain_update(channel).finalize();
        let outer = Sha1::new().chain_update(self.0).chain_update(inner).finalize();
        let mut nonce = Nonce::default();
        nonce.0.iter_mut().zip(outer).for_each(|(nonce, digest)| *nonce = digest);
        nonce
    }
}

impl fmt::Debug for StartPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartPositions(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_of_one_secret_one_channel_and_one_count() {
        let (one, other) = (StartPositions::random(), StartPositions::random());
        assert_eq!(one.nonce("a", 1), one.nonce("a", 1));
        for different in [one.nonce("a", 2), one.nonce("b", 1), other.nonce("a", 1), Nonce::default()] {
            assert_ne!(one.nonce("a", 1), different);
        }
    }

    #[test]
    fn a_secret_is_read_as_it_was_written_and_never_shown() {
        let secret = StartPositions::random();
        assert_eq!(StartPositions::from_hex(&secret.to_hex()), Some(secret.clone()));
        for text in ["", "00", &"é".repeat(32), &"g".repeat(64)] {
            assert_eq!(StartPositions::from_hex(text), None, "{text}");
        }
        assert_eq!(format!("{secret:?}"), "StartPositions(..)");
    }
}
