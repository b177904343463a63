//! Which proxies are believed, and what they say about the client.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use nexios_engine::HttpPeer;

use crate::request::Headers;

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

/// The text names no address, network or `unix`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no proxy: an address, a network like 10.0.0.0/8, or \"unix\"")]
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

    /// The client's address: behind trusted proxies the last one in `X-Forwarded-For` that
    /// is none of them, since everything before it may be made up.
    pub(crate) fn client(&self, peer: Option<IpAddr>, headers: &Headers) -> Option<IpAddr> {
        self.client_among(peer, headers.get_all("x-forwarded-for"))
    }

    /// The same, by the values of `X-Forwarded-For`.
    fn client_among<'a>(&self, peer: Option<IpAddr>, values: impl Iterator<Item = &'a str>) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return peer;
        }
        let fields: Vec<&str> = values.flat_map(|field| field.split(',')).collect();
        let mut client = peer;
        for field in fields.into_iter().rev() {
            let Some(address) = parse_forwarded(field.trim()) else { return client };
            client = Some(address);
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }

    /// What the nearest proxy says in this field, if it is believed.
    pub(crate) fn forwarded<'a>(&self, peer: Option<IpAddr>, headers: &'a Headers, name: &'a str) -> Option<&'a str> {
        let value = headers.get_all(name).last().filter(|_| self.trusts(peer))?;
        value.rsplit(',').next().map(str::trim)
    }
}

/// The proxies' word about a plain HTTP request.
impl TrustedProxies {
    /// The peer as the nearest proxy describes it, if it is believed.
    pub(crate) fn http_peer(&self, mut peer: HttpPeer, headers: &HeaderMap) -> HttpPeer {
        let address = peer.address.map(|address| address.ip());
        if !self.trusts(address) {
            return peer;
        }
        let values = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        if let Some(client) = self.client_among(address, values("x-forwarded-for")) {
            peer.address = Some(SocketAddr::new(client, peer.address.map_or(0, |address| address.port())));
        }
        if let Some(scheme) = values("x-forwarded-proto").next_back().and_then(|value| value.rsplit(',').next()) {
            peer.tls = scheme.trim().eq_ignore_ascii_case("https");
        }
        peer
    }
}

/// An address with or without a port, as proxies write it.
fn parse_forwarded(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok();
    address.or_else(|| text.parse().ok().map(|address: std::net::SocketAddr| address.ip()))
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
    use crate::request::tests::headers;

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
    fn a_forwarded_text_that_is_no_address_ends_the_search() {
        let headers = headers("/", &["X-Forwarded-For: 1.2.3.4, unknown, [::1]:80"]);
        assert_eq!(proxies(&["10.0.0.1", "::1"]).client(ip("10.0.0.1"), &headers), ip("::1"));
    }

    #[test]
    fn the_nearest_proxy_has_the_last_word() {
        let headers = headers("/", &["X-Forwarded-Host: evil, shop.example"]);
        assert_eq!(
            proxies(&["10.0.0.1"]).forwarded(ip("10.0.0.1"), &headers, "x-forwarded-host"),
            Some("shop.example")
        );
        assert_eq!(proxies(&[]).forwarded(ip("10.0.0.1"), &headers, "x-forwarded-host"), None);
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
