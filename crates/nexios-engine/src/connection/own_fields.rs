//! The header fields of an answer that are the server's own: they say where the answer ends and what the connection
//! becomes. An application's field of these names is an error at the call, unless it says what the server says.

use super::{AcceptError, Refusal};

/// Statuses of a refusal: any other would promise what does not follow.
const STATUSES: std::ops::RangeInclusive<u16> = 300..=599;

/// Checks the fields that an application adds to a 101.
pub(super) fn check_accept(headers: &[(String, String)]) -> Result<(), AcceptError> {
    let names = ["connection", "upgrade", "content-length", "transfer-encoding"];
    let is_own = |name: &str| names.contains(&name) || name.starts_with("sec-websocket-");
    match headers.iter().find(|(name, _)| is_own(&name.to_ascii_lowercase())) {
        None => Ok(()),
        Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-protocol") => {
            Err(wrong(name, value, "the subprotocol is an argument of its own"))
        }
        Some((name, value)) => Err(wrong(name, value, "the handshake writes this field itself")),
    }
}

/// Returns a refusal without the fields that the server writes itself.
pub(super) fn check_refusal(mut refusal: Refusal) -> Result<Refusal, AcceptError> {
    if !STATUSES.contains(&refusal.status) {
        return Err(AcceptError::InvalidStatus(refusal.status));
    }
    let mut headers = std::mem::take(&mut refusal.headers);
    let mut error = None;
    headers.retain(|(name, value)| match check_field(&refusal, &name.to_ascii_lowercase(), value) {
        Ok(is_kept) => is_kept,
        Err(expected) => {
            error.get_or_insert_with(|| wrong(name, value, expected));
            false
        }
    });
    match error {
        None => Ok(Refusal { headers, ..refusal }),
        Some(error) => Err(error),
    }
}

/// Returns false if the server writes this field, and writes this value; an error says what it has to be.
fn check_field(refusal: &Refusal, name: &str, value: &str) -> Result<bool, &'static str> {
    let value = value.trim_matches([' ', '\t']);
    match name {
        "content-length" if value.parse() == Ok(refusal.body.len()) => Ok(false),
        "content-length" => Err("must be the length of the body"),
        "connection" if value.eq_ignore_ascii_case("close") => Ok(false),
        "connection" => Err("must be close, since a refusal ends the connection"),
        "transfer-encoding" => Err("a refusal has a length instead"),
        // RFC 9110 §15.5.22 and RFC 6455 §4.4.
        "upgrade" if refusal.status == 426 => Ok(true),
        "upgrade" => Err("belongs to status 426"),
        "sec-websocket-version" if value == "13" => Ok(true),
        "sec-websocket-version" => Err("must be 13"),
        name if name.starts_with("sec-websocket-") => Err("belongs to an accepted handshake"),
        _ => Ok(true),
    }
}

fn wrong(name: &str, value: &str, expected: &'static str) -> AcceptError {
    AcceptError::OwnHeader { name: name.into(), value: value.into(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, name: &str, value: &str) -> Result<Vec<(String, String)>, AcceptError> {
        check_refusal(Refusal::new(status, "four").header(name, value)).map(|refusal| refusal.headers)
    }

    #[test]
    fn what_the_server_writes_itself_is_taken_where_it_is_right() {
        for (name, value) in [("Content-Length", "4"), ("content-length", " 4 "), ("Connection", "Close")] {
            assert_eq!(refusal(403, name, value), Ok(vec![]), "{name}");
        }
        for (status, name, value) in [
            (426, "Upgrade", "websocket"),
            (400, "Sec-WebSocket-Version", "13"),
            (403, "X-Content-Length", "7"),
            (304, "ETag", "\"1\""),
        ] {
            assert_eq!(refusal(status, name, value), Ok(vec![(name.into(), value.into())]), "{name}");
        }
    }

    #[test]
    fn what_contradicts_the_server_is_an_error() {
        for (name, value) in [
            ("Content-Length", "5"),
            ("Content-Length", "04x"),
            ("Content-Length", "-4"),
            ("CONTENT-LENGTH", ""),
            ("Transfer-Encoding", "chunked"),
            ("transfer-encoding", "identity"),
            ("Connection", "keep-alive"),
            ("Connection", "close, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Accept", "x"),
            ("Sec-WebSocket-Protocol", "x"),
            ("Sec-WebSocket-Version", "8"),
        ] {
            assert!(matches!(refusal(403, name, value), Err(AcceptError::OwnHeader { .. })), "{name}: {value}");
        }
        for status in [0, 99, 101, 200, 204, 299, 600, 65535] {
            assert_eq!(refusal(status, "X", ""), Err(AcceptError::InvalidStatus(status)));
        }
    }

    #[test]
    fn a_101_has_no_own_field_of_the_application() {
        for name in ["Connection", "upgrade", "Content-Length", "TRANSFER-ENCODING", "Sec-WebSocket-Anything"] {
            assert!(check_accept(&[(name.into(), "x".into())]).is_err(), "{name}");
        }
        assert_eq!(check_accept(&[("X-Upgrade".into(), "1".into()), ("Set-Cookie".into(), "a=b".into())]), Ok(()));
    }
}
