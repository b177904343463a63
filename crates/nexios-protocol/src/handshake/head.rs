//! A request head in one allocation: the bytes as they came, and where things are in them.

use std::ops::Range;

use super::HandshakeError;

/// How large a request head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes, the empty line included; at most 65,535.
    pub head_bytes_max: usize,
    /// Header fields.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head_bytes_max: 8 << 10, headers_max: 64 }
    }
}

/// The head of an HTTP/1 request.
///
/// ```
/// use nexios_protocol::{HeadLimits, RequestHead};
/// let bytes = b"GET /chat?room=1 HTTP/1.1\r\nHost: example.org\r\n\r\n";
/// let (head, used) = RequestHead::parse(bytes, &HeadLimits::default()).unwrap().unwrap();
/// assert_eq!(used, bytes.len());
/// assert_eq!((head.path(), head.query()), ("/chat", "room=1"));
/// assert_eq!(head.header("host"), Some("example.org"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The head, then four bytes of offsets for each part.
    bytes: Box<[u8]>,
    /// Where the offsets begin.
    table: u16,
    minor_version: u8,
}

/// A part of the head.
#[derive(Clone, Copy)]
struct Span(u16, u16);

impl Span {
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        Span(start as u16, (start + part.len()) as u16)
    }

    fn to_bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.0.to_le_bytes(), self.1.to_le_bytes());
        [a, b, c, d]
    }

    fn from_bytes(&[a, b, c, d]: &[u8; 4]) -> Range<usize> {
        usize::from(u16::from_le_bytes([a, b]))..usize::from(u16::from_le_bytes([c, d]))
    }
}

impl RequestHead {
    /// Reads a head from the front; `None` where bytes are missing, else it and its length.
    ///
    /// # Errors
    /// `MalformedHead` (400) or `HeadTooLarge` (431).
    pub fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<Option<(RequestHead, usize)>, HandshakeError> {
        let max = limits.head_bytes_max.min(usize::from(u16::MAX));
        let mut headers = vec![httparse::EMPTY_HEADER; limits.headers_max];
        let mut request = httparse::Request::new(&mut headers);
        let consumed = match request.parse(&bytes[..bytes.len().min(max)]) {
            Ok(httparse::Status::Complete(consumed)) => consumed,
            Ok(httparse::Status::Partial) if bytes.len() >= max => return Err(HandshakeError::HeadTooLarge),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(HandshakeError::HeadTooLarge),
            Err(_) => return Err(HandshakeError::MalformedHead),
        };
        let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
            return Err(HandshakeError::MalformedHead);
        };
        let mut parts = vec![Span::of(method.as_bytes(), bytes), Span::of(target.as_bytes(), bytes)];
        for header in request.headers.iter() {
            parts.push(Span::of(header.name.as_bytes(), bytes));
            parts.push(Span::of(header.value, bytes));
        }
        let mut all = Vec::with_capacity(consumed + 4 * parts.len());
        all.extend_from_slice(&bytes[..consumed]);
        parts.iter().for_each(|part| all.extend_from_slice(&part.to_bytes()));
        let head = RequestHead { bytes: all.into(), table: consumed as u16, minor_version };
        Ok(Some((head, consumed)))
    }

    /// The method, as sent.
    pub fn method(&self) -> &str {
        self.text(0)
    }

    /// The request target, as sent.
    pub fn target(&self) -> &str {
        self.text(1)
    }

    /// The target's path, still percent-encoded.
    pub fn path(&self) -> &str {
        let target = self.origin_form();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The target's query, without the question mark.
    pub fn query(&self) -> &str {
        self.origin_form().split_once('?').map_or("", |(_, query)| query)
    }

    /// 0 or 1, for HTTP/1.0 and HTTP/1.1.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The first value of a header field, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// All values of a header field that are text, in order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        values.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All header fields in order, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let count = self.parts().len() / 2 - 1;
        (1..=count).map(|index| (self.text(2 * index), self.part(2 * index + 1)))
    }

    /// Whether it asks for a WebSocket: `Upgrade` has the token `websocket`.
    pub fn is_upgrade(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }

    /// Whether a list-valued field has a token, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.headers().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let mut parts = values.flat_map(|(_, value)| value.split(|byte| *byte == b','));
        parts.any(|part| trim_whitespace(part).eq_ignore_ascii_case(token.as_bytes()))
    }

    /// `http://host/path` as `/path` (RFC 9112 §3.2.2).
    fn origin_form(&self) -> &str {
        let target = self.target();
        match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
            _ => target,
        }
    }

    fn parts(&self) -> &[[u8; 4]] {
        self.bytes[usize::from(self.table)..].as_chunks().0
    }

    fn part(&self, index: usize) -> &[u8] {
        &self.bytes[Span::from_bytes(&self.parts()[index])]
    }

    fn text(&self, index: usize) -> &str {
        // httparse hands out methods, targets and names as `str`.
        std::str::from_utf8(self.part(index)).unwrap_or_default()
    }
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestHead({} {})", self.method(), self.target())
    }
}

/// Whether a text is a token (RFC 9110 §5.6.2): a header's name, a subprotocol.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a text may be a header's value: no control characters, CR and LF above all.
pub fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// Returns a field value, or an element of it, without the white space around it that HTTP knows:
/// spaces and tabs, and none of Unicode's (RFC 9110 §5.6.3).
///
/// ```
/// assert_eq!(nexios_protocol::trim_whitespace(b" \ta b\t"), b"a b");
/// assert_eq!(nexios_protocol::trim_whitespace("\u{a0}a".as_bytes()), "\u{a0}a".as_bytes());
/// ```
pub fn trim_whitespace(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// As [`trim_whitespace`], of text.
pub fn trim_whitespace_of(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(RequestHead, usize)>, HandshakeError> {
        RequestHead::parse(text.as_bytes(), &HeadLimits { head_bytes_max: 200, headers_max: 3 })
    }

    #[test]
    fn a_head_is_complete_only_with_its_empty_line() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), Ok(None), "{cut}");
        }
        assert!(matches!(parse(&format!("{text}rest")), Ok(Some((_, 27)))));
    }

    #[test]
    fn names_are_compared_in_any_case_and_repeated_values_are_kept() {
        let (head, _) = parse("GET / HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.header_values("X-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(head.header("missing"), None);
    }

    #[test]
    fn too_much_is_431_and_garbage_is_400() {
        let many = "GET / HTTP/1.1\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\n\r\n";
        assert_eq!(parse(many), Err(HandshakeError::HeadTooLarge));
        assert_eq!(parse(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(300))), Err(HandshakeError::HeadTooLarge));
        for garbage in ["\0\0\0", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\u{16}\u{3}\u{1}"] {
            assert_eq!(parse(garbage), Err(HandshakeError::MalformedHead), "{garbage:?}");
        }
    }

    #[test]
    fn an_absolute_target_has_a_path_too() {
        let (head, _) = parse("GET http://a/b?c=http://d HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.path(), head.query()), ("/b", "c=http://d"));
        let (head, _) = parse("GET /x?u=http://d HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.path(), head.query()), ("/x", "u=http://d"));
    }
}
