//! The server's side (RFC 6455 §4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::{HandshakeError, RequestHead, is_header_value, is_token, trim_whitespace_of};
use crate::deflate::{DeflateOffer, parse_offers};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that a client may offer: each is compared with all others.
const SUBPROTOCOLS_MAX: usize = 32;

/// What an upgrade request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpgradeRequest<'a> {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// The subprotocols in the client's order of preference.
    pub subprotocols: Vec<&'a str>,
    /// The acceptable forms of `permessage-deflate`.
    pub deflate_offers: Vec<DeflateOffer>,
}

/// Checks an upgrade request (RFC 6455 §4.2.1).
///
/// # Errors
/// [`HandshakeError`], which knows its HTTP status.
pub fn check_upgrade(head: &RequestHead) -> Result<UpgradeRequest<'_>, HandshakeError> {
    if head.method() != "GET" {
        return Err(HandshakeError::Method);
    }
    if head.minor_version() < 1 {
        return Err(HandshakeError::HttpVersion);
    }
    if times(head, "host") != 1 {
        return Err(HandshakeError::Host);
    }
    if !head.is_upgrade() {
        return Err(HandshakeError::UpgradeHeader);
    }
    if !head.has_token("connection", "upgrade") {
        return Err(HandshakeError::ConnectionHeader);
    }
    let version = head.header_values("sec-websocket-version").next();
    if version != Some("13") || times(head, "sec-websocket-version") != 1 {
        return Err(HandshakeError::Version);
    }
    if head.headers().any(|(name, value)| announces_body(name, value)) {
        return Err(HandshakeError::Body);
    }
    Ok(UpgradeRequest {
        accept_key: accept_key(the_key(head)?),
        subprotocols: subprotocols(head)?,
        deflate_offers: parse_offers(head.header_values("sec-websocket-extensions")),
    })
}

/// What an application may not put on a 101.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let own = ["connection", "upgrade", "content-length", "transfer-encoding"];
    own.contains(&name.as_str()) || name.starts_with("sec-websocket-")
}

/// How often a field comes, with values that are no text too: somebody else may read them otherwise.
fn times(head: &RequestHead, field: &str) -> usize {
    head.headers().filter(|(name, _)| name.eq_ignore_ascii_case(field)).count()
}

/// Values that are no text count as well: somebody else on the way may read them otherwise.
fn announces_body(name: &str, value: &[u8]) -> bool {
    name.eq_ignore_ascii_case("transfer-encoding")
        || (name.eq_ignore_ascii_case("content-length") && value.trim_ascii() != b"0")
}

fn the_key(head: &RequestHead) -> Result<&str, HandshakeError> {
    let key = head.header_values("sec-websocket-key").next().filter(|_| times(head, "sec-websocket-key") == 1);
    let key = key.ok_or(HandshakeError::Key)?;
    let decoded = STANDARD.decode(key).map_err(|_| HandshakeError::Key)?;
    if decoded.len() == 16 { Ok(key) } else { Err(HandshakeError::Key) }
}

fn subprotocols(head: &RequestHead) -> Result<Vec<&str>, HandshakeError> {
    let mut list: Vec<&str> = Vec::new();
    for name in head.header_values("sec-websocket-protocol").flat_map(|value| value.split(',')).map(trim_whitespace_of)
    {
        if name.is_empty() {
            continue;
        }
        if !is_token(name) || list.contains(&name) || list.len() == SUBPROTOCOLS_MAX {
            return Err(HandshakeError::Subprotocol);
        }
        list.push(name);
    }
    Ok(list)
}

/// The answer to a key (RFC 6455 §4.2.2).
///
/// ```
/// assert_eq!(nexios_protocol::accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// Appends the answer 101 (RFC 6455 §4.2.2).
///
/// # Errors
/// `InvalidHeader` where a name or value could not stand in HTTP; `out` is then unchanged.
pub fn write_accept(
    out: &mut Vec<u8>,
    accept_key: &str,
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    headers: &[(String, String)],
) -> Result<(), HandshakeError> {
    let own = [("Sec-WebSocket-Protocol", subprotocol), ("Sec-WebSocket-Extensions", extensions)];
    let own = own.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let all: Vec<(&str, &str)> = own.chain(headers.iter().map(|(name, value)| (&**name, &**value))).collect();
    if let Some((name, _)) = headers.iter().find(|(name, _)| is_reserved(name)) {
        return Err(HandshakeError::ReservedHeader(name.clone()));
    }
    for (name, value) in &all {
        if !is_token(name) {
            return Err(HandshakeError::InvalidHeader((*name).to_owned()));
        }
        if !is_header_value(value) {
            return Err(HandshakeError::InvalidHeader((*value).to_owned()));
        }
    }
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_key.as_bytes());
    for (name, value) in all {
        for part in ["\r\n", name, ": ", value] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::HeadLimits;

    const GOOD: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn check(head: &str) -> Result<(), HandshakeError> {
        let (head, _) = RequestHead::parse(format!("{head}\r\n").as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        check_upgrade(&head).map(|_| ())
    }

    #[test]
    fn every_rule_of_section_4_2_1_is_checked() {
        assert_eq!(check(GOOD), Ok(()));
        let table = [
            ("GET /", "POST /", HandshakeError::Method),
            ("HTTP/1.1", "HTTP/1.0", HandshakeError::HttpVersion),
            ("Host: a\r\n", "", HandshakeError::Host),
            ("Host: a\r\n", "Host: a\r\nHost: b\r\n", HandshakeError::Host),
            ("WebSocket", "h2c", HandshakeError::UpgradeHeader),
            ("keep-alive, Upgrade", "keep-alive", HandshakeError::ConnectionHeader),
            (": 13", ": 12", HandshakeError::Version),
            ("Sec-WebSocket-Version: 13\r\n", "", HandshakeError::Version),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", HandshakeError::Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!!!!", HandshakeError::Key),
            ("Host: a\r\n", "Host: a\r\nContent-Length: 5\r\n", HandshakeError::Body),
            ("Host: a\r\n", "Host: a\r\nTransfer-Encoding: chunked\r\n", HandshakeError::Body),
            ("Host: a\r\n", "Host: a\r\nSec-WebSocket-Protocol: a, a\r\n", HandshakeError::Subprotocol),
            ("Host: a\r\n", "Host: a\r\nSec-WebSocket-Protocol: a b\r\n", HandshakeError::Subprotocol),
        ];
        for (from, to, error) in table {
            assert_eq!(check(&GOOD.replacen(from, to, 1)), Err(error), "{to}");
        }
        assert_eq!(check(&GOOD.replace("Host: a", "Host: a\r\nContent-Length: 0")), Ok(()));
    }

    #[test]
    fn a_line_break_cannot_be_smuggled_into_the_answer() {
        let mut out = Vec::new();
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert!(write_accept(&mut out, "k", Some("a\r\nX: y"), None, &[]).is_err());
        assert!(write_accept(&mut out, "k", None, None, &header("X", "y\nz")).is_err());
        assert!(write_accept(&mut out, "k", None, None, &header("X:", "y")).is_err());
        assert!(out.is_empty());
    }
}
