//! A request head in one allocation: the bytes as they came, and where things are in them.

use std::ops::Range;

use super::{HandshakeError, is_host, split_target};

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

/// The head of an HTTP/1 request. One with an absolute target (`GET http://host/path`) reads as one with its path and
/// this `Host`, whatever its own `Host` says (RFC 9112 §3.2.2).
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
    /// The head, what it lacks in this form, then four bytes of offsets for each part.
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

/// A head that is being read.
struct Parts<'a> {
    head: &'a [u8],
    /// What the head itself does not have, and comes behind it.
    added: Vec<u8>,
    spans: Vec<Span>,
}

impl Parts<'_> {
    /// Adds a part that is in the head.
    fn push(&mut self, part: &[u8]) {
        self.spans.push(Span::of(part, self.head));
    }

    /// Adds a part that is not.
    fn push_new(&mut self, part: &[u8]) {
        let start = self.head.len() + self.added.len();
        self.added.extend_from_slice(part);
        self.spans.push(Span(start as u16, (start + part.len()) as u16));
    }

    fn into_head(self, minor_version: u8) -> Result<RequestHead, HandshakeError> {
        let table = u16::try_from(self.head.len() + self.added.len()).map_err(|_| HandshakeError::HeadTooLarge)?;
        let mut bytes = Vec::with_capacity(usize::from(table) + 4 * self.spans.len());
        bytes.extend_from_slice(self.head);
        bytes.extend_from_slice(&self.added);
        self.spans.iter().for_each(|span| bytes.extend_from_slice(&span.to_bytes()));
        Ok(RequestHead { bytes: bytes.into(), table, minor_version })
    }
}

impl RequestHead {
    /// Reads a head from the front; `None` where bytes are missing, else it and its length.
    ///
    /// # Errors
    /// `MalformedHead`, `Target` or `Host` (400), or `HeadTooLarge` (431).
    pub fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<Option<(RequestHead, usize)>, HandshakeError> {
        let max = limits.head_bytes_max.min(usize::from(u16::MAX));
        // A field has four bytes at least.
        let mut headers = vec![httparse::EMPTY_HEADER; limits.headers_max.min(max / 4 + 1)];
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
        let (authority, rest) = split_target(method, target).ok_or(HandshakeError::Target)?;
        let mut parts = Parts { head: &bytes[..consumed], added: Vec::new(), spans: Vec::new() };
        parts.push(method.as_bytes());
        match authority.is_some() && !rest.starts_with('/') {
            true => parts.push_new(format!("/{rest}").as_bytes()),
            false => parts.push(rest.as_bytes()),
        }
        let mut has_host = false;
        for header in request.headers.iter() {
            let is_of_host = header.name.eq_ignore_ascii_case("host");
            if is_of_host && !is_host(header.value) {
                return Err(HandshakeError::Host);
            }
            has_host |= is_of_host;
            parts.push(header.name.as_bytes());
            parts.push(authority.filter(|_| is_of_host).map_or(header.value, str::as_bytes));
        }
        // HTTP/1.1 without a host is an error all the same, and HTTP/1.0 has one by its target.
        if let Some(authority) = authority.filter(|_| !has_host && minor_version == 0) {
            parts.push_new(b"Host");
            parts.push(authority.as_bytes());
        }
        Ok(Some((parts.into_head(minor_version)?, consumed)))
    }

    /// The method, as sent.
    pub fn method(&self) -> &str {
        self.text(0)
    }

    /// The request target: a path with its query, or `*`.
    pub fn target(&self) -> &str {
        self.text(1)
    }

    /// The target's path, still percent-encoded.
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The target's query, without the question mark.
    pub fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
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
        let (head, _) = parse("GET http://a?x=/echo HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.target(), head.path(), head.query()), ("/?x=/echo", "/", "x=/echo"));
        let (head, _) = parse("GET /x?u=http://d HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.path(), head.query()), ("/x", "u=http://d"));
    }

    #[test]
    fn the_host_of_an_absolute_target_replaces_the_field() {
        for (text, hosts) in [
            ("GET http://a:8/b HTTP/1.1\r\nHost: evil\r\nX: 1\r\n\r\n", &["a:8"][..]),
            ("GET http://a HTTP/1.1\r\nX: 1\r\nhost:\r\n\r\n", &["a"]),
            ("GET http://a HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n", &["a", "a"]),
            ("GET http://a HTTP/1.1\r\n\r\n", &[]),
            ("GET http://a?x HTTP/1.0\r\n\r\n", &["a"]),
            ("GET /http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", &["b"]),
        ] {
            let (head, _) = parse(text).unwrap().unwrap();
            assert_eq!(head.header_values("host").collect::<Vec<_>>(), hosts, "{text}");
            let others = head.header_values("x").all(|value| value == "1");
            assert!(others && head.method() == "GET" && head.target().starts_with('/'), "{text}");
        }
    }

    #[test]
    fn targets_and_hosts_that_are_not_valid_are_400() {
        for target in ["ws", "?x=/ws", "*", "*://a/echo", "http:///a", "/a#b"] {
            assert_eq!(parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(HandshakeError::Target));
        }
        for line in ["Host: a b", "Host: a/b", "Host: u@a", "Host: a\r\nHost: b c"] {
            let request = |target: &str| format!("GET {target} HTTP/1.1\r\n{line}\r\n\r\n");
            assert_eq!(parse(&request("/")), Err(HandshakeError::Host), "{line}");
            assert_eq!(parse(&request("http://a/")), Err(HandshakeError::Host), "{line}");
        }
        assert!(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
    }
}
