//! Messages that say which one they are.

use anyhow::{Context, Result, ensure};

use crate::content::Content;

/// Decimal digits before the letters.
const DIGITS: usize = 10;

/// The payload of the message with this number: digits, then letters.
pub(crate) fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = format!("{number:0DIGITS$}").into_bytes();
    payload.extend(Content::letters(size.saturating_sub(DIGITS)).payload());
    payload
}

/// Which message it is; an error if it is not as long as it was sent.
pub(crate) fn number(payload: &[u8], size: usize) -> Result<u64> {
    ensure!(payload.len() == size.max(DIGITS), "a message of {size} B came with {}", payload.len());
    let digits = std::str::from_utf8(&payload[..DIGITS]).ok().and_then(|digits| digits.parse().ok());
    digits.with_context(|| format!("a message begins with {:?}", String::from_utf8_lossy(&payload[..DIGITS])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_number() {
        let message = payload(4_000_000_001, 256);
        assert_eq!(message.len(), 256);
        assert_eq!(number(&message, 256).unwrap(), 4_000_000_001);
    }

    #[test]
    fn what_was_not_sent_is_an_error() {
        assert!(number(&payload(1, 256)[..255], 256).is_err());
        assert!(number(&[b'x'; 256], 256).is_err());
    }
}
