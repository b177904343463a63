//! The connections of each host, for the limit on them.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// A host whose connections are counted together: an address of IPv4, or a /64 of IPv6, which is given to one
/// subscriber as a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Host(Option<IpAddr>);

/// The number of connections of each host.
#[derive(Default)]
pub(crate) struct Hosts(Mutex<HashMap<Host, usize>>);

impl Host {
    /// Clients behind a proxy that does not say, or not clearly, who they are. They share one count: without it a
    /// client could leave the limit behind by making its own address unreadable.
    const UNKNOWN: Host = Host(None);

    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Host::UNKNOWN,
            Some(IpAddr::V4(v4)) => Host(Some(v4.into())),
            Some(IpAddr::V6(v6)) => {
                let mut segments = v6.segments();
                segments[4..].fill(0);
                Host(Some(segments.into()))
            }
        }
    }
}

impl Hosts {
    /// Counts one more connection of a host; returns false if it has as many as it may.
    pub(crate) fn enter(&self, host: Host, max: usize) -> bool {
        let mut hosts = self.0.lock();
        if hosts.get(&host).is_some_and(|count| *count >= max) || max == 0 {
            return false;
        }
        *hosts.entry(host).or_default() += 1;
        true
    }

    /// One connection of a host has ended.
    pub(crate) fn leave(&self, host: Host) {
        let mut hosts = self.0.lock();
        if let Some(count) = hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_host() {
        assert_eq!(host("2001:db8:1:2:3::1"), host("2001:db8:1:2:ffff::2"));
        assert_ne!(host("2001:db8:1:2:3::1"), host("2001:db8:1:3::1"));
        assert_eq!(host("::ffff:10.0.0.1"), host("10.0.0.1"));
        assert_ne!(host("::"), Host::UNKNOWN);
    }

    #[test]
    fn hosts_without_connections_are_forgotten() {
        let hosts = Hosts::default();
        assert!(hosts.enter(Host::UNKNOWN, 1) && hosts.enter(host("10.0.0.1"), 1));
        assert!(!hosts.enter(Host::UNKNOWN, 1) && !hosts.enter(host("10.0.0.2"), 0));
        hosts.leave(Host::UNKNOWN);
        hosts.leave(host("10.0.0.1"));
        assert!(hosts.0.lock().is_empty());
    }
}
