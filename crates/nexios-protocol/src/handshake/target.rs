//! What a request asks for: the forms of its target (RFC 9112 §3.2), and hosts (RFC 9110 §7.2).

use std::net::Ipv6Addr;

/// The schemes whose absolute targets are ours.
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// Splits a request target into the authority of an absolute one and the rest: a path with its query, which may lack
/// the path behind an authority, or `*`. Returns `None` if the target has none of the forms that an origin server
/// takes: a tunnel's (`CONNECT host:port`), an asterisk without `OPTIONS`, or any other text.
///
/// ```
/// use nexios_protocol::split_target;
/// assert_eq!(split_target("GET", "/chat?room=1"), Some((None, "/chat?room=1")));
/// assert_eq!(split_target("GET", "http://example.org?x=/y"), Some((Some("example.org"), "?x=/y")));
/// assert_eq!(split_target("GET", "chat"), None);
/// ```
pub fn split_target<'a>(method: &str, target: &'a str) -> Option<(Option<&'a str>, &'a str)> {
    if target.contains('#') {
        return None;
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Some((None, target));
    }
    let (scheme, rest) = target.split_once("://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_ours = SCHEMES.iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
    (is_ours && !authority.is_empty() && is_host(authority.as_bytes())).then_some((Some(authority), rest))
}

/// Returns true if this may be the value of `Host`: a name or an address, with or without a port, or nothing.
///
/// ```
/// use nexios_protocol::is_host;
/// assert!(is_host(b"example.org:8000") && is_host(b"[2001:db8::1]"));
/// assert!(!is_host(b"example.org/evil") && !is_host(b"a b"));
/// ```
pub fn is_host(host: &[u8]) -> bool {
    if let [b'[', rest @ ..] = host {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let address = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        return address.is_some() && is_port(&rest[end + 1..]);
    }
    let (name, port) = host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len()));
    host.is_empty() || (!name.is_empty() && is_name(name) && is_port(port))
}

/// `:8000`, `:`, or nothing.
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => {
            let text = std::str::from_utf8(digits).unwrap_or("-");
            digits.is_empty() || (digits.iter().all(u8::is_ascii_digit) && text.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

/// RFC 3986 §3.2.2: `reg-name`.
fn is_name(name: &[u8]) -> bool {
    let is_escape = |at: usize| name.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    name.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => is_escape(at),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_of_an_origin_server_are_taken() {
        for (target, split) in [
            ("/", Some((None, "/"))),
            ("/a?u=http://d/e", Some((None, "/a?u=http://d/e"))),
            ("//a/b", Some((None, "//a/b"))),
            ("http://h/ws", Some((Some("h"), "/ws"))),
            ("HTTPS://h:443/ws?x", Some((Some("h:443"), "/ws?x"))),
            ("ws://[::1]:80", Some((Some("[::1]:80"), ""))),
            ("http://h?x=/echo", Some((Some("h"), "?x=/echo"))),
            ("http://h?x=://", Some((Some("h"), "?x=://"))),
        ] {
            assert_eq!(split_target("GET", target), split, "{target}");
        }
        for target in [
            "",
            "ws",
            "?x=/ws",
            "?x=http://h/ws",
            "*",
            "*://a/echo",
            "://a/echo",
            "http:///ws",
            "http:/ws",
            "http://",
            "http://u@h/ws",
            "http://h:x/ws",
            "http://h\\ws",
            "ftp://h/ws",
            "h:80",
            "h/ws",
            "h://x/ws",
            "/a#b",
            "http://h#/ws",
            "http://%/ws",
            "http://a b/ws",
        ] {
            assert_eq!(split_target("GET", target), None, "{target}");
        }
        assert_eq!(split_target("OPTIONS", "*"), Some((None, "*")));
        assert_eq!(split_target("OPTIONS", "**"), None);
        assert_eq!(split_target("CONNECT", "h:80"), None);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in ["", "a", "a.example:80", "a:", "127.0.0.1:65535", "[::1]", "[::1]:8000", "a_b", "a%20b", "x,y"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            " a",
            "a\t",
            ":80",
            "a:b",
            "a:-1",
            "a:65536",
            "a:80:80",
            "::1",
            "[::1",
            "[x]",
            "[::1]x",
            "a/b",
            "a?",
            "a#",
            "a@b",
            "a\\b",
            "a\"",
            "<a>",
            "a%2",
            "a%zz",
            "b\u{fc}cher",
            "a\u{0}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
        assert!(!is_host(b"a\xff"));
    }
}
