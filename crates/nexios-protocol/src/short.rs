//! Short messages by value: unmasked and checked in whole words, from the input right to whoever keeps them.

use crate::opcode::OpCode;

/// Longest payload of a short message.
pub const SHORT_BYTES_MAX: usize = 21;

/// A header with its key, and behind it the words that a short payload lies in.
const WINDOW_BYTES: usize = 6 + 8 * WORDS;
const WORDS: usize = 3;

/// The bytes of a payload of so many bytes, in words.
const PAYLOAD: [[u64; WORDS]; SHORT_BYTES_MAX + 1] = {
    let mut table = [[0; WORDS]; SHORT_BYTES_MAX + 1];
    let mut len = 0;
    while len <= SHORT_BYTES_MAX {
        let mut byte = 0;
        while byte < len {
            table[len][byte / 8] |= 0xff << (8 * (byte % 8));
            byte += 1;
        }
        len += 1;
    }
    table
};

const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

/// A whole message of up to [`SHORT_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Short {
    /// A text message.
    Text(ShortText),
    /// A binary message.
    Binary(ShortBytes),
}

/// UTF-8 of up to [`SHORT_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortText(ShortBytes);

/// Up to [`SHORT_BYTES_MAX`] bytes; those behind the payload are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortBytes {
    words: [u64; WORDS],
    len: u8,
}

impl ShortText {
    /// The text's bytes: UTF-8.
    #[inline]
    pub fn bytes(self) -> ShortBytes {
        self.0
    }
}

impl ShortBytes {
    /// The payload, and zeros behind it.
    #[inline]
    pub fn to_array(self) -> [u8; SHORT_BYTES_MAX] {
        let mut array = [0; SHORT_BYTES_MAX];
        array[..8].copy_from_slice(&self.words[0].to_le_bytes());
        array[8..16].copy_from_slice(&self.words[1].to_le_bytes());
        array[16..].copy_from_slice(&self.words[2].to_le_bytes()[..SHORT_BYTES_MAX - 16]);
        array
    }

    /// The payload's length.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "one number of a value in transit")]
    pub fn len(self) -> u8 {
        self.len
    }

    #[inline]
    fn is_utf8(self) -> bool {
        let [first, second, third] = self.words;
        (first | second | third) & NOT_ASCII == 0
            || std::str::from_utf8(&self.to_array()[..usize::from(self.len)]).is_ok()
    }
}

/// Reads a client's short message from the front of `buffer`, of which `left` bytes are input and what follows may
/// be anything: it, and how many bytes it took. `None` where it is something else, or no UTF-8.
#[inline]
pub(crate) fn parse_short(buffer: &[u8], left: usize) -> Option<(Short, usize)> {
    let window: &[u8; WINDOW_BYTES] = buffer.first_chunk()?;
    let len = usize::from(window[1] ^ 0x80);
    let payload = PAYLOAD.get(len)?;
    if 6 + len > left {
        return None;
    }
    let key = u32::from_le_bytes([window[2], window[3], window[4], window[5]]);
    let key = u64::from(key) << 32 | u64::from(key);
    let (chunks, _) = window[6..].as_chunks::<8>();
    let words = std::array::from_fn(|index| (u64::from_le_bytes(chunks[index]) ^ key) & payload[index]);
    let bytes = ShortBytes { words, len: len as u8 };
    const TEXT: u8 = 0x80 | OpCode::Text as u8;
    const BINARY: u8 = 0x80 | OpCode::Binary as u8;
    let short = match window[0] {
        TEXT if bytes.is_utf8() => Short::Text(ShortText(bytes)),
        BINARY => Short::Binary(bytes),
        _ => return None,
    };
    Some((short, 6 + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::write_frame;
    use crate::{Codec, Decoder, Limits, Received, Role};
    use proptest::prelude::*;

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![".{0,22}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..30)]
    }

    proptest! {
        #[test]
        fn a_short_message_is_what_the_decoder_says_or_none(
            payload in payload(), key: [u8; 4], text: bool, fin: bool, behind: [u8; 40], cut in 0usize..4,
        ) {
            let opcode = if text { OpCode::Text } else { OpCode::Binary };
            let mut buffer = Vec::new();
            write_frame(&mut buffer, opcode, fin, false, &payload, Some(key));
            let left = buffer.len() - cut.saturating_sub(2);
            buffer.extend(behind);
            let short = parse_short(&buffer, left);
            let whole = fin && left == buffer.len() - 40 && payload.len() <= SHORT_BYTES_MAX;
            let mut decoder = Decoder::new(Role::Server, None);
            let decoded = decoder.decode(&mut buffer[..left], &Limits::default(), &mut Codec::new());
            match (short, decoded) {
                (Some((Short::Text(found), used)), Ok((taken, Some(Received::Text(text))))) => {
                    let found = found.bytes();
                    prop_assert_eq!(&found.to_array()[..usize::from(found.len())], text.as_bytes());
                    prop_assert_eq!(used, taken);
                }
                (Some((Short::Binary(found), used)), Ok((taken, Some(Received::Binary(bytes))))) => {
                    prop_assert_eq!(&found.to_array()[..usize::from(found.len())], &bytes[..]);
                    prop_assert_eq!(used, taken);
                }
                (Some(found), decoded) => prop_assert!(false, "{found:?} instead of {decoded:?}"),
                (None, Ok((_, Some(_)))) => prop_assert!(!whole),
                (None, _) => {}
            }
        }

        #[test]
        fn nothing_is_read_from_a_front_that_is_no_short_message(mut buffer: [u8; 40], left in 0usize..40) {
            buffer[0] |= 0x40;
            prop_assert_eq!(parse_short(&buffer, left), None);
            prop_assert_eq!(parse_short(&buffer[..WINDOW_BYTES - 1], left), None);
        }
    }
}
