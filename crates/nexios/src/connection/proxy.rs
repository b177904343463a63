//! Which proxies are believed, and what they say about the client.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use nexios_engine::HttpPeer;
use nexios_protocol::trim_whitespace;

use crate::connection::request::Headers;

/// The proxies whose `X-Forwarded-*` fields count; nobody's unless named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    /// Peers on a Unix socket.
    unix: bool,
}

/// Addresses that share their first bits, as in `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    address: u128,
    bits: u32,
}

/// A trusted proxy that is neither an address nor a network nor `unix`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid trusted proxy {0:?}: must be an address, a network such as 10.0.0.0/8, or \"unix\"")]
pub struct InvalidProxy(pub String);

impl TrustedProxies {
    pub(crate) fn add(&mut self, text: &str) -> Result<(), InvalidProxy> {
        if text == "unix" {
            self.unix = true;
        } else {
            self.networks.push(text.parse()?);
        }
        Ok(())
    }

    /// Whether this peer is believed; `None` is one on a Unix socket.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix,
        }
    }

    /// Returns the client's address: behind trusted proxies the last one that they name and that is none of them,
    /// since everything before it may be made up. `None` if it is unknown.
    pub(crate) fn client(&self, peer: Option<IpAddr>, headers: &Headers) -> Option<IpAddr> {
        self.client_among(peer, || (headers.values(FORWARDED_FOR).collect(), headers.values(FORWARDED).collect()))
    }

    /// As [`client`](Self::client), by the values of `X-Forwarded-For` and `Forwarded`. A proxy writes one of the two,
    /// and may pass the other on as the client has sent it: where they contradict each other the client is unknown.
    fn client_among<'a>(
        &self,
        peer: Option<IpAddr>,
        fields: impl FnOnce() -> (Vec<&'a [u8]>, Vec<&'a [u8]>),
    ) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return peer;
        }
        let (listed, forwarded) = fields();
        let listed = (!listed.is_empty()).then(|| self.last_untrusted(peer, elements(&listed).map(address_of)));
        let forwarded = (!forwarded.is_empty()).then(|| {
            let addresses =
                forwarded_elements(&forwarded).map(|element| address_of(parameter(element, b"for").as_deref()?));
            self.last_untrusted(peer, addresses)
        });
        match (listed, forwarded) {
            (None, None) => peer,
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) => one.filter(|_| one == other),
        }
    }

    /// An element that cannot be read is somebody unknown, and not the proxy that has passed it on.
    fn last_untrusted(
        &self,
        peer: Option<IpAddr>,
        addresses: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut client = peer;
        for address in addresses.rev() {
            client = Some(address?);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Returns the host that the client asked the nearest proxy for, if that is believed and says so. One that cannot
    /// be read is empty, which is nobody's.
    pub(crate) fn host(&self, peer: Option<IpAddr>, headers: &Headers) -> Option<String> {
        self.said(peer, |name| headers.values(name).collect(), "x-forwarded-host", b"host")
    }

    /// As [`host`](Self::host), of a plain HTTP request.
    pub(crate) fn http_host(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<String> {
        self.said(peer, |name| values_of(headers, name), "x-forwarded-host", b"host")
    }

    /// Returns the scheme by which the client has reached the nearest proxy, in lower case, as [`host`](Self::host).
    pub(crate) fn scheme(&self, peer: Option<IpAddr>, headers: &Headers) -> Option<String> {
        let said = self.said(peer, |name| headers.values(name).collect(), "x-forwarded-proto", b"proto");
        said.map(|scheme| scheme.to_ascii_lowercase())
    }

    fn said<'a>(
        &self,
        peer: Option<IpAddr>,
        values: impl Fn(&'static str) -> Vec<&'a [u8]>,
        own: &'static str,
        standard: &[u8],
    ) -> Option<String> {
        if !self.trusts(peer) {
            return None;
        }
        if let Some(value) = values(own).last() {
            return Some(text_of_last(value));
        }
        let value = *values(FORWARDED).last()?;
        let said = parameter(forwarded_elements(&[value]).next_back()?, standard)?;
        Some(String::from_utf8(said).unwrap_or_default())
    }
}

fn values_of<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes).collect()
}

const FORWARDED_FOR: &str = "x-forwarded-for";
/// RFC 7239.
const FORWARDED: &str = "forwarded";

/// The proxies' word about a plain HTTP request.
impl TrustedProxies {
    /// The peer as the nearest proxy describes it, if it is believed.
    pub(crate) fn http_peer(&self, mut peer: HttpPeer, headers: &HeaderMap) -> HttpPeer {
        let address = peer.address.map(|address| address.ip());
        if !self.trusts(address) {
            return peer;
        }
        let values = |name| values_of(headers, name);
        let client = self.client_among(address, || (values(FORWARDED_FOR), values(FORWARDED)));
        let port = peer.address.map_or(0, |address| address.port());
        peer.address = client.map(|client| SocketAddr::new(client, port));
        if let Some(scheme) = self.said(address, values, "x-forwarded-proto", b"proto") {
            peer.tls = ["https", "wss"].iter().any(|secure| scheme.eq_ignore_ascii_case(secure));
        }
        peer
    }
}

/// The elements of `X-Forwarded-For`, in order; empty ones do not count (RFC 9110 §5.6.1). The field has no quotes.
fn elements<'a>(values: &[&'a [u8]]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let elements = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
    elements.map(trim_whitespace).filter(|element| !element.is_empty())
}

/// As [`elements`], of `Forwarded`, whose values may be quoted (RFC 7239 §4).
fn forwarded_elements<'a>(values: &[&'a [u8]]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    values.iter().flat_map(|value| split_outside_quotes(value, b',')).filter(|element| !element.is_empty())
}

/// Splits from the right: what a proxy has added is last, so a quote that its client left open hides none of it.
fn split_outside_quotes(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut end, mut quoted) = (Vec::new(), text.len(), false);
    for (at, byte) in text.iter().enumerate().rev() {
        if is_quote(text, at) {
            quoted = !quoted;
        } else if *byte == separator && !quoted {
            parts.push(trim_whitespace(&text[at + 1..end]));
            end = at;
        }
    }
    parts.push(trim_whitespace(&text[..end]));
    parts.reverse();
    parts
}

/// Returns true if a quote is here that no odd number of backslashes escapes.
fn is_quote(text: &[u8], at: usize) -> bool {
    text[at] == b'"' && text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
}

/// Returns a parameter of an element of `Forwarded`, without its quotes (RFC 7239 §4). One that is there twice, or
/// any in an element whose quotes do not match, is empty: it is neither an address nor a host nor a scheme.
fn parameter(element: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    if (0..element.len()).filter(|at| is_quote(element, *at)).count() % 2 == 1 {
        return Some(Vec::new());
    }
    let pairs = split_outside_quotes(element, b';');
    let mut values = pairs.into_iter().filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        pair[..equals].eq_ignore_ascii_case(name).then(|| &pair[equals + 1..])
    });
    match (values.next()?, values.next()) {
        (value, None) => Some(unquote(value).unwrap_or_default()),
        (_, Some(_)) => Some(Vec::new()),
    }
}

fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let [b'"', inner @ .., b'"'] = value else { return (!value.contains(&b'"')).then(|| value.to_vec()) };
    let (mut out, mut bytes) = (Vec::with_capacity(inner.len()), inner.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(*bytes.next()?),
            b'"' => return None,
            byte => out.push(*byte),
        }
    }
    Some(out)
}

/// What the nearest proxy has written into a field that others may have begun.
fn text_of_last(value: &[u8]) -> String {
    let last = value.rsplit(|byte| *byte == b',').next().map(trim_whitespace).unwrap_or_default();
    String::from_utf8(last.to_vec()).unwrap_or_default()
}

/// An address with or without a port, as proxies write it; in its short form where IPv6 maps IPv4.
fn address_of(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    address.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip())).map(|address| address.to_canonical())
}

/// IPv4 addresses as IPv6 writes them, so that `::ffff:10.0.0.1` is `10.0.0.1`.
fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
        (to_bits(address) ^ self.address) & mask == 0
    }
}

impl FromStr for Network {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let invalid = || InvalidProxy(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let (offset, max) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
        let bits = bits.map_or(Ok(max), str::parse).map_err(|_| invalid())?;
        match bits <= max {
            true => Ok(Network { address: to_bits(address), bits: offset + bits }),
            false => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::request::tests::headers;

    fn proxies(list: &[&str]) -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        list.iter().for_each(|text| proxies.add(text).unwrap());
        proxies
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let headers = headers("/", &["X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.2"]);
        assert_eq!(proxies(&[]).client(ip("10.0.0.1"), &headers), ip("10.0.0.1"));
        let trusted = proxies(&["10.0.0.0/8"]);
        assert_eq!(trusted.client(ip("10.0.0.1"), &headers), ip("1.2.3.4"));
        assert_eq!(trusted.client(ip("::ffff:10.0.0.1"), &headers), ip("1.2.3.4"));
        assert_eq!(trusted.client(ip("11.0.0.1"), &headers), ip("11.0.0.1"));
        assert_eq!(trusted.client(None, &headers), None);
        assert_eq!(proxies(&["unix", "10.0.0.2"]).client(None, &headers), ip("1.2.3.4"));
    }

    #[test]
    fn an_element_that_is_no_address_is_somebody_unknown_and_never_the_proxy() {
        let trusted = proxies(&["10.0.0.1", "::1"]);
        for (line, client) in [
            ("1.2.3.4, unknown, [::1]:80", None),
            ("unknown", None),
            ("1.2.3.4, \u{a0}5.6.7.8", None),
            ("evil", None),
            ("1.2.3.4, , [::1]", ip("1.2.3.4")),
            ("1.2.3.4:5000,", ip("1.2.3.4")),
            ("[2001:db8::7]:443", ip("2001:db8::7")),
            ("::ffff:1.2.3.4", ip("1.2.3.4")),
            ("[1.2.3.4", None),
            ("::1", ip("::1")),
            ("", ip("10.0.0.1")),
        ] {
            let headers = headers("/", &[&format!("X-Forwarded-For: {line}")]);
            assert_eq!(trusted.client(ip("10.0.0.1"), &headers), client, "{line:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_somebody_unknown() {
        let trusted = proxies(&["10.0.0.1"]);
        let client = |value: &'static [u8]| trusted.client_among(ip("10.0.0.1"), || (vec![value], vec![]));
        assert_eq!(client(b"1.2.3.4, \xff"), None);
        assert_eq!(client(b"\xff, 1.2.3.4"), ip("1.2.3.4"), "what is before the client does not matter");
        assert_eq!(client(b"\xff"), None);
    }

    #[test]
    fn forwarded_says_the_same_by_the_standard() {
        let trusted = proxies(&["10.0.0.0/8"]);
        for (line, client, host, scheme) in [
            ("for=1.2.3.4;proto=HTTPS;host=shop.example", ip("1.2.3.4"), Some("shop.example"), Some("https")),
            ("For=\"[2001:db8::7]:4711\"", ip("2001:db8::7"), None, None),
            ("for=6.6.6.6, for=1.2.3.4 , for=10.0.0.2", ip("1.2.3.4"), None, None),
            ("for=_hidden", None, None, None),
            ("for=unknown;host=\"a,b\"", None, Some("a,b"), None),
            ("by=10.0.0.1", None, None, None),
        ] {
            let headers = headers("/", &[&format!("Forwarded: {line}")]);
            assert_eq!(trusted.client(ip("10.0.0.1"), &headers), client, "{line}");
            assert_eq!(trusted.host(ip("10.0.0.1"), &headers).as_deref(), host, "{line}");
            assert_eq!(trusted.scheme(ip("10.0.0.1"), &headers).as_deref(), scheme, "{line}");
        }
        let both = headers("/", &["Forwarded: for=1.2.3.4", "X-Forwarded-For: 6.6.6.6"]);
        assert_eq!(trusted.client(ip("10.0.0.1"), &both), None, "one of them is the client's own");
        let both = headers("/", &["Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4"]);
        assert_eq!(trusted.client(ip("10.0.0.1"), &both), ip("1.2.3.4"));
    }

    #[test]
    fn a_quote_that_a_client_leaves_open_hides_nothing_that_the_proxy_adds() {
        let trusted = proxies(&["10.0.0.0/8"]);
        for (line, client) in [
            ("X-Forwarded-For: \", 1.2.3.4", ip("1.2.3.4")),
            ("X-Forwarded-For: \"6.6.6.6, 1.2.3.4", ip("1.2.3.4")),
            ("Forwarded: for=6.6.6.6;x=\", for=1.2.3.4", ip("1.2.3.4")),
            ("Forwarded: for=6.6.6.6;x=\"\\, for=1.2.3.4", ip("1.2.3.4")),
            ("Forwarded: for=\", for=\"[2001:db8::7]:80\"", ip("2001:db8::7")),
            ("Forwarded: for=6.6.6.6;x=\", for=1.2.3.4, for=10.0.0.2", ip("1.2.3.4")),
            ("Forwarded: host=\"x;for=6.6.6.6;y\";for=1.2.3.4", ip("1.2.3.4")),
            ("Forwarded: host=\"x\\\";for=6.6.6.6\";for=1.2.3.4", ip("1.2.3.4")),
            ("Forwarded: for=6.6.6.6;for=1.2.3.4", None),
            ("Forwarded: for=\"1.2.3.4", None),
        ] {
            let headers = headers("/", &[line]);
            assert_eq!(trusted.client(ip("10.0.0.1"), &headers), client, "{line}");
        }
        let headers = headers("/", &["Forwarded: host=evil;host=shop.example;proto=\"http"]);
        assert_eq!(trusted.host(ip("10.0.0.1"), &headers).as_deref(), Some(""), "what contradicts itself is nobody's");
        assert_eq!(trusted.scheme(ip("10.0.0.1"), &headers).as_deref(), Some(""));
    }

    #[test]
    fn the_nearest_proxy_has_the_last_word() {
        let headers = headers("/", &["X-Forwarded-Host: evil, shop.example"]);
        assert_eq!(proxies(&["10.0.0.1"]).host(ip("10.0.0.1"), &headers).as_deref(), Some("shop.example"));
        assert_eq!(proxies(&[]).host(ip("10.0.0.1"), &headers), None);
    }

    #[test]
    fn a_plain_request_comes_from_whom_a_trusted_proxy_names() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 1.2.3.4".parse().unwrap());
        headers.append("x-forwarded-proto", "https".parse().unwrap());
        let peer = HttpPeer { address: Some("10.0.0.1:80".parse().unwrap()), local: None, tls: false };
        let seen = proxies(&["10.0.0.1"]).http_peer(peer, &headers);
        assert_eq!((seen.address, seen.tls), (Some("1.2.3.4:80".parse().unwrap()), true));
        let seen = proxies(&["10.0.0.2"]).http_peer(peer, &headers);
        assert_eq!((seen.address, seen.tls), (peer.address, false));
    }

    #[test]
    fn networks_are_checked() {
        for text in ["", "10.0.0.0/33", "::/129", "localhost", "10.0.0.0/x"] {
            assert_eq!(TrustedProxies::default().add(text), Err(InvalidProxy(text.into())));
        }
        assert!(proxies(&["0.0.0.0/0"]).trusts(ip("8.8.8.8")));
        assert!(!proxies(&["0.0.0.0/0"]).trusts(ip("2001:db8::1")));
        assert!(proxies(&["::/0"]).trusts(ip("8.8.8.8")));
    }
}
