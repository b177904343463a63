//! Addresses of servers.

use http::Uri;

/// A parsed address.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of the `Host` field.
    pub(super) authority: String,
    pub(super) target: String,
    pub(super) is_tls: bool,
}

/// Returns true if a text is the address of a WebSocket.
///
/// ```
/// use nexios_client::transport::is_address;
/// assert!(is_address("wss://example.org/live") && !is_address("https://example.org"));
/// ```
pub fn is_address(url: &str) -> bool {
    Address::parse(url).is_some()
}

impl Address {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.split('#').next()?.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "ws" => false,
            "wss" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let shown = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).to_owned();
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // A port that is out of range is not one.
            None if shown.len() > authority.host().len() => return None,
            None if is_tls => 443,
            None => 80,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        (!host.is_empty()).then_some(Address { host, port, authority: shown, target, is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_host_port_and_target() {
        let address = Address::parse("ws://example.org/live?room=x#part").unwrap();
        assert_eq!((&*address.host, address.port, &*address.target), ("example.org", 80, "/live?room=x"));
        assert!(!address.is_tls);
        let address = Address::parse("wss://ann@[::1]:8443").unwrap();
        assert_eq!((&*address.host, address.port, &*address.target), ("::1", 8443, "/"));
        assert_eq!((&*address.authority, address.is_tls), ("[::1]:8443", true));
        for url in ["http://example.org", "example.org", "ws:///x", "", "ws://a:99999", "ws://a b", "ws://:80"] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }
}
