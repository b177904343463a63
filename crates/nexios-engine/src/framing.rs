//! Framed connections: their peers take a message that begins with RS for a frame of a subprotocol.

use crate::message::{Message, MessageRef};

/// What a frame of the subprotocol begins with: RS, U+001E. UTF-8 has it as one byte.
pub const FRAME_MARK: u8 = 0x1E;
/// The empty header that stands before an application's message which itself begins with a mark.
const EMPTY_HEADER: &str = "\u{1E}\n";

/// Whether a framed connection's peer would take it for a frame.
pub(crate) fn is_mistakable(message: MessageRef<'_>) -> bool {
    message.as_bytes().first() == Some(&FRAME_MARK)
}

/// The message behind an empty header.
pub(crate) fn escape(message: MessageRef<'_>) -> Message {
    match message {
        MessageRef::Text(text) => [EMPTY_HEADER, text].concat().into(),
        MessageRef::Binary(bytes) => [EMPTY_HEADER.as_bytes(), bytes].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_with_the_mark_is_mistakable_and_its_kind_stays() {
        for plain in ["", "a", "\n\u{1E}", "{}"] {
            assert!(!is_mistakable(MessageRef::Text(plain)), "{plain:?}");
        }
        assert!(is_mistakable(MessageRef::Binary(&[0x1E])));
        assert_eq!(escape(MessageRef::Text("\u{1E}x")), Message::from("\u{1E}\n\u{1E}x"));
        assert_eq!(escape(MessageRef::Binary(&[0x1E, 0xFF])), Message::from(vec![0x1E, 0x0A, 0x1E, 0xFF]));
    }
}
