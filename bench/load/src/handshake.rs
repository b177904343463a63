//! The client's side of the opening handshake (RFC 6455, section 4.1).

use std::net::SocketAddrV4;

use anyhow::{Result, bail, ensure};

/// The sample key of section 1.3, and the answer that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Neither side keeps its window between messages (RFC 7692, section 7.1.1).
const DEFLATE_OFFER: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

/// A response's head arrives within so many bytes here.
pub(crate) const HEAD_BYTES_MAX: usize = 4096;

/// The request, with an offer of permessage-deflate if wanted.
pub(crate) fn request(path: &str, server: SocketAddrV4, deflate: bool) -> Vec<u8> {
    request_with(path, server, if deflate { DEFLATE_OFFER } else { "" })
}

/// The request with more fields, each ended by CRLF.
pub(crate) fn request_with(path: &str, server: SocketAddrV4, fields: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// Where the response's head ends, once it is whole; an error if it is not a 101 with
/// the right accept key, or does not agree to what was offered.
pub(crate) fn head_end(received: &[u8], deflate: bool) -> Result<Option<usize>> {
    let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        ensure!(received.len() < HEAD_BYTES_MAX, "the response's head does not end");
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]);
    if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
        bail!("the server refused: {head}");
    }
    let agreed = head.contains("permessage-deflate");
    ensure!(agreed == deflate, "permessage-deflate: offered {deflate}, agreed {agreed}: {head}");
    ensure!(
        !deflate || head.contains("server_no_context_takeover"),
        "the server keeps its window between messages although it was asked not to: {head}"
    );
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn anything_but_a_101_is_a_refusal() {
        assert!(head_end(b"HTTP/1.1 404 Not Found\r\n\r\n", false).is_err());
        assert_eq!(head_end(b"HTTP/1.1 101 Switching", false).unwrap(), None);
        let accepted = format!("{ACCEPTED}\r\n");
        assert_eq!(head_end(accepted.as_bytes(), false).unwrap(), Some(accepted.len()));
        assert!(head_end(accepted.as_bytes(), true).is_err());
    }

    #[test]
    fn deflate_counts_as_agreed_only_without_a_kept_window() {
        let head = |parameters: &str| {
            format!("{ACCEPTED}Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n\r\n").into_bytes()
        };
        assert!(head_end(&head("; server_no_context_takeover"), true).is_ok());
        assert!(head_end(&head(""), true).is_err());
        assert!(head_end(&head("; server_no_context_takeover"), false).is_err());
    }
}
