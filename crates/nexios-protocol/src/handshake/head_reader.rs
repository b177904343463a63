//! A request head that comes in pieces, read with work in proportion to its bytes.

use super::{HandshakeError, HeadLimits, RequestHead};

/// The bytes of a request head as far as they have come.
///
/// A head is parsed from its start, so it must not be parsed for each of its bytes: only with its first piece, with its
/// first line, whenever it has doubled, and when its empty line or its limit is there. Bytes that are no head are found
/// with the head's end at the latest.
///
/// ```
/// use nexios_protocol::{HeadLimits, HeadReader};
/// let mut reader = HeadReader::default();
/// assert!(reader.push(b"GET / HTTP/1.1\r\nHost: a\r", &HeadLimits::default()).unwrap().is_none());
/// let head = reader.push(b"\n\r\nrest", &HeadLimits::default()).unwrap().unwrap();
/// assert_eq!(head.path(), "/");
/// assert_eq!(reader.rest(), b"rest");
/// ```
#[derive(Default, Debug)]
pub struct HeadReader {
    bytes: Vec<u8>,
    /// Where the line begins that is coming.
    start: usize,
    /// Bytes that were looked through for the end of a line.
    searched: usize,
    /// The first line is complete.
    has_line: bool,
    /// The length at the last parse.
    parsed: usize,
    /// The length of the head that was found.
    consumed: usize,
    #[cfg(test)]
    work: usize,
}

impl HeadReader {
    /// Takes the next bytes; returns the head once it is complete.
    ///
    /// # Errors
    /// As for [`RequestHead::parse`].
    pub fn push(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, HandshakeError> {
        self.bytes.extend_from_slice(bytes);
        let is_due = self.ends_something()
            || self.bytes.len() >= limits.head_bytes_max.min(usize::from(u16::MAX))
            || self.bytes.len() >= 2 * self.parsed;
        if is_due { self.parse(limits) } else { Ok(None) }
    }

    /// Returns the bytes that have come so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes behind the head that was found.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Takes the bytes that have come so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn parse(&mut self, limits: &HeadLimits) -> Result<Option<RequestHead>, HandshakeError> {
        self.parsed = self.bytes.len();
        #[cfg(test)]
        {
            self.work += self.bytes.len();
        }
        let found = RequestHead::parse(&self.bytes, limits)?;
        Ok(found.map(|(head, consumed)| {
            self.consumed = consumed;
            head
        }))
    }

    /// Looks through the bytes that are new. Returns true if the first line ends in them, or the head with its empty line.
    fn ends_something(&mut self) -> bool {
        let mut ends = false;
        while let Some(index) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + index;
            let line = &self.bytes[self.start..end];
            let is_empty = line.is_empty() || line == b"\r";
            // Empty lines before the first one count for nothing (RFC 9112 §2.2).
            ends |= is_empty == self.has_line;
            self.has_line |= !is_empty;
            self.start = end + 1;
            self.searched = end + 1;
        }
        self.searched = self.bytes.len();
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 60_000, headers_max: 16_000 };

    fn in_pieces(bytes: &[u8], piece: usize) -> (HeadReader, Result<Option<RequestHead>, HandshakeError>) {
        let mut reader = HeadReader::default();
        for piece in bytes.chunks(piece) {
            match reader.push(piece, &LIMITS) {
                Ok(None) => {}
                end => return (reader, end),
            }
        }
        (reader, Ok(None))
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_read_with_work_in_proportion_to_its_bytes() {
        let fields = "a: 1\r\n".repeat(9_000);
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(50_000));
        let blank = "\r\n".repeat(25_000);
        for head in [format!("GET / HTTP/1.1\r\n{fields}\r\n"), format!("{long}\r\n"), format!("{blank}{long}")] {
            let (reader, _) = in_pieces(head.as_bytes(), 1);
            assert!(reader.work <= 5 * head.len(), "{} bytes of work for {}", reader.work, head.len());
        }
    }

    #[test]
    fn garbage_is_refused_with_its_first_line_and_fields_with_the_head_at_the_latest() {
        for garbage in ["\0", "GET\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
            let (_, end) = in_pieces(garbage.as_bytes(), 1);
            assert_eq!(end, Err(HandshakeError::MalformedHead), "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_the_head_that_the_whole_makes(
            blank in "(\r?\n){0,3}", lines in "([a-c]{1,3}: ?[ -~]{0,9}\r?\n){0,6}", rest in "[\r\na]{0,5}", piece in 1_usize..9,
        ) {
            let text = format!("{blank}GET /a?b HTTP/1.1\r\n{lines}\r\n{rest}");
            let whole = RequestHead::parse(text.as_bytes(), &LIMITS);
            let (reader, found) = in_pieces(text.as_bytes(), piece);
            match whole {
                Ok(Some((head, consumed))) => {
                    prop_assert_eq!(reader.consumed, consumed);
                    prop_assert_eq!(found, Ok(Some(head)));
                }
                other => prop_assert_eq!(found, other.map(|_| None)),
            }
        }
    }
}
