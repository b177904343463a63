//! The client's side (RFC 6455 §4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{HandshakeError, accept_key, is_header_value, is_token, trim_whitespace_of};
use crate::deflate::{Agreed, DeflateConfig, accept_response, offer_header};

/// Header fields that a server's answer may have.
const HEADERS_MAX: usize = 128;

/// A client's handshake: write [`request`](Self::request), read until
/// [`parse_response`](Self::parse_response) has an answer.
///
/// ```
/// use nexios_protocol::ClientHandshake;
/// let handshake = ClientHandshake::new("example.org", "/chat").subprotocol("v1");
/// assert!(handshake.request().unwrap().starts_with(b"GET /chat HTTP/1.1\r\nHost: example.org\r\n"));
/// ```
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    host: String,
    target: String,
    key: String,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    deflate: Option<DeflateConfig>,
}

/// A server's answer 101.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandshakeResponse {
    /// Always 101.
    pub status: u16,
    /// All header fields.
    pub headers: Vec<(String, String)>,
    /// The subprotocol that the server picked.
    pub subprotocol: Option<String>,
    /// What was agreed about compression.
    pub deflate: Option<Agreed>,
}

impl ClientHandshake {
    /// A handshake with a fresh key.
    pub fn new(host: impl Into<String>, target: impl Into<String>) -> Self {
        let mut nonce = [0; 16];
        // The key only has to be fresh, not secret.
        let _ = getrandom::fill(&mut nonce);
        ClientHandshake {
            host: host.into(),
            target: target.into(),
            key: STANDARD.encode(nonce),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            deflate: None,
        }
    }

    /// Offers one more subprotocol.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers compression.
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }

    /// The request's bytes.
    ///
    /// # Errors
    /// [`HandshakeError::InvalidHeader`] for a line break, or another character that would end a field.
    pub fn request(&self) -> Result<Vec<u8>, HandshakeError> {
        self.check_request()?;
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
            self.target, self.host, self.key
        );
        if !self.subprotocols.is_empty() {
            text.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", self.subprotocols.join(", ")));
        }
        if let Some(config) = &self.deflate {
            text.push_str(&format!("Sec-WebSocket-Extensions: {}\r\n", offer_header(config)));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Ok(text.into_bytes())
    }

    fn check_request(&self) -> Result<(), HandshakeError> {
        let is_target = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let names = self.subprotocols.iter().chain(self.headers.iter().map(|(name, _)| name));
        let bad_part = [&self.host, &self.target].into_iter().find(|part| !is_target(part));
        let bad_name = names.into_iter().find(|name| !is_token(name));
        let bad_value = self.headers.iter().map(|(_, value)| value).find(|value| !is_header_value(value));
        match bad_part.or(bad_name).or(bad_value) {
            Some(bad) => Err(HandshakeError::InvalidHeader(bad.as_str().into())),
            None => Ok(()),
        }
    }

    /// Reads the answer from the front; `None` where bytes are missing, else it and its length.
    ///
    /// # Errors
    /// `Refused` for any status but 101; others where the answer breaks RFC 6455 §4.1.
    pub fn parse_response(&self, bytes: &[u8]) -> Result<Option<(HandshakeResponse, usize)>, HandshakeError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let consumed = match response.parse(bytes) {
            Ok(httparse::Status::Complete(consumed)) => consumed,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(HandshakeError::MalformedHead),
        };
        let status = response.code.unwrap_or_default();
        let field = |header: &httparse::Header<'_>| {
            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
        };
        let headers: Vec<_> = response.headers.iter().map(field).collect();
        if status != 101 {
            return Err(HandshakeError::Refused { status, headers });
        }
        let answer = self.check(headers)?;
        Ok(Some((answer, consumed)))
    }

    fn check(&self, headers: Vec<(String, String)>) -> Result<HandshakeResponse, HandshakeError> {
        let values = |name: &'static str| {
            headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        // An answer has each of its own fields only once (RFC 6455 §11.3).
        let once = |name, error| match (values(name).next(), values(name).nth(1)) {
            (value, None) => Ok(value),
            _ => Err(error),
        };
        let upgrade = once("upgrade", HandshakeError::UpgradeHeader)?;
        if !upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(HandshakeError::UpgradeHeader);
        }
        let mut tokens = values("connection").flat_map(|value| value.split(','));
        if !tokens.any(|token| trim_whitespace_of(token).eq_ignore_ascii_case("upgrade")) {
            return Err(HandshakeError::ConnectionHeader);
        }
        if once("sec-websocket-accept", HandshakeError::Accept)? != Some(&accept_key(&self.key)) {
            return Err(HandshakeError::Accept);
        }
        let subprotocol = once("sec-websocket-protocol", HandshakeError::UnofferedSubprotocol)?.map(str::to_owned);
        if subprotocol.as_ref().is_some_and(|name| !self.subprotocols.contains(name)) {
            return Err(HandshakeError::UnofferedSubprotocol);
        }
        let extensions = once("sec-websocket-extensions", HandshakeError::Extension)?;
        let deflate = match (extensions, &self.deflate) {
            (None, _) => None,
            (Some(_), None) => return Err(HandshakeError::Extension),
            (Some(value), Some(config)) => accept_response(value, config)?,
        };
        Ok(HandshakeResponse { status: 101, subprotocol, deflate, headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{HeadLimits, RequestHead, check_upgrade, write_accept};

    #[test]
    fn our_own_server_takes_our_own_client() {
        let client = ClientHandshake::new("a", "/").subprotocol("v1").deflate(DeflateConfig::default());
        let (head, _) = RequestHead::parse(&client.request().unwrap(), &HeadLimits::default()).unwrap().unwrap();
        let upgrade = check_upgrade(&head).unwrap();
        let (agreed, header) = crate::negotiate(&DeflateConfig::default(), &upgrade.deflate_offers).unwrap();
        let mut answer = Vec::new();
        write_accept(&mut answer, &upgrade.accept_key, Some("v1"), Some(&header), &[]).unwrap();
        let (response, used) = client.parse_response(&answer).unwrap().unwrap();
        assert_eq!(used, answer.len());
        assert_eq!((response.subprotocol.as_deref(), response.deflate), (Some("v1"), Some(agreed)));
    }

    #[test]
    fn a_refusal_is_a_typed_result() {
        let client = ClientHandshake::new("a", "/");
        let refused = client.parse_response(b"HTTP/1.1 403 Forbidden\r\nX-Why: no\r\n\r\n");
        let headers = vec![("X-Why".to_owned(), "no".to_owned())];
        assert_eq!(refused, Err(HandshakeError::Refused { status: 403, headers }));
    }

    #[test]
    fn an_answer_to_another_key_is_refused() {
        let client = ClientHandshake::new("a", "/");
        let mut answer = Vec::new();
        write_accept(&mut answer, &accept_key("dGhlIHNhbXBsZSBub25jZQ=="), None, None, &[]).unwrap();
        assert_eq!(client.parse_response(&answer), Err(HandshakeError::Accept));
    }
}
