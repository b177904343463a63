//! The address of a connection's peer, in seven bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::rc::Rc;

use super::bits::Bits;
use super::{CloseInfo, Connection, Inner, Refusal};
use crate::hosts::Host;
use crate::metrics::Cause;
use crate::service::Service;

/// The peer of a connection: its address, and what the connection counts for.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    address: Address,
    counted: Bits,
}

/// What few connections of a shard need, and those that do not need it do not pay for.
#[derive(Default)]
pub(crate) struct Addresses {
    /// Addresses that are too long for their connections.
    v6: RefCell<HashMap<Key, SocketAddrV6>>,
    /// Hosts that some connections are counted for, where they are not their peers.
    hosts_behind: RefCell<HashMap<Key, Host>>,
}

/// What no other connection of the shard has, as long as there is a handle to this one.
type Key = (u32, u32);

/// It holds a place in the server's limits.
const COUNTED: u8 = 1;
/// It is counted for a host.
const COUNTED_FOR_HOST: u8 = 1 << 1;

#[derive(Clone, Copy)]
enum Address {
    /// On a Unix socket or in memory.
    Unnamed,
    V4(Ipv4Addr, [u8; 2]),
    /// The shard keeps it: 28 bytes that only such connections cost.
    V6,
}

impl Peer {
    /// A peer whose address is not known yet. A counted one holds a place in the server's limits.
    pub(super) fn new(counted: bool) -> Self {
        let mut peer = Peer { address: Address::Unnamed, counted: Bits::default() };
        peer.counted.set(COUNTED, counted);
        peer
    }

    /// Returns true if the connection holds a place in the server's limits.
    pub(crate) fn is_counted(self) -> bool {
        self.counted.has(COUNTED)
    }
}

impl Address {
    fn of(address: Option<SocketAddr>) -> Self {
        match address {
            None => Address::Unnamed,
            Some(SocketAddr::V4(v4)) => Address::V4(*v4.ip(), v4.port().to_ne_bytes()),
            // A client of IPv4 on a socket of IPv6 is the same client on one of IPv4.
            Some(SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
                Some(ip) => Address::V4(ip, v6.port().to_ne_bytes()),
                None => Address::V6,
            },
        }
    }
}

impl Inner {
    pub(crate) fn set_peer(&self, address: Option<SocketAddr>) {
        let short = Address::of(address);
        if let (Address::V6, Some(SocketAddr::V6(v6))) = (short, address) {
            self.shard.addresses.v6.borrow_mut().insert(self.key(), v6);
        }
        self.state.borrow_mut().peer.address = short;
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let address = self.state.borrow().peer.address;
        match address {
            Address::Unnamed => None,
            Address::V4(ip, port) => Some(SocketAddr::new(ip.into(), u16::from_ne_bytes(port))),
            Address::V6 => self.shard.addresses.v6.borrow().get(&self.key()).map(|v6| SocketAddr::V6(*v6)),
        }
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.peer().map(|address| address.ip())
    }

    /// Notes the host for which this connection is counted until its end.
    pub(crate) fn is_counted_for(&self, host: Host) {
        if host != Host::of(self.peer_ip()) {
            self.shard.addresses.hosts_behind.borrow_mut().insert(self.key(), host);
        }
        self.state.borrow_mut().peer.counted.set(COUNTED_FOR_HOST, true);
    }

    /// Returns the host for which this connection was counted, now that it has ended.
    pub(crate) fn take_host(&self) -> Option<Host> {
        let is_counted = self.state.borrow_mut().peer.counted.take(COUNTED_FOR_HOST);
        let behind = self.shard.addresses.hosts_behind.borrow_mut().remove(&self.key());
        is_counted.then(|| behind.unwrap_or_else(|| Host::of(self.peer_ip())))
    }

    /// Counts an upgrade that came through a proxy for the client that it names. Returns false if that has as many
    /// connections as it may: then the client has its answer.
    pub(super) fn enter_host(self: &Rc<Self>, service: &Rc<dyn Service>) -> bool {
        let peer = self.state.borrow().peer;
        let is_limited = self.shard.shared.settings.connections_per_host_max.is_some() && peer.is_counted();
        if !is_limited || peer.counted.has(COUNTED_FOR_HOST) || !service.is_proxy(self.peer_ip()) {
            return true;
        }
        let client = service.client(&Connection(self.clone()));
        let host = Host::of(client);
        if self.shard.shared.enter_host(host) {
            self.is_counted_for(host);
            return true;
        }
        self.shard.shared.metrics.refused(Cause::HostLimit);
        let client = client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
        tracing::warn!(
            connection = %self.id(),
            cause = Cause::HostLimit.name(),
            client,
            "connection refused: its host has as many as connections_per_host_max allows"
        );
        let refusal = Refusal::new(503, "too many connections of this host\n").header("Retry-After", "1");
        self.answer_and_hang_up(&mut self.state.borrow_mut(), &refusal, CloseInfo::cut());
        false
    }

    fn key(&self) -> Key {
        (self.token(), self.serial())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Address::V6 = self.state.get_mut().peer.address {
            self.shard.addresses.v6.borrow_mut().remove(&self.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::stream::{Socket, Stream};
    use crate::{Server, ServerSettings};

    #[test]
    fn an_address_comes_out_as_it_went_in_and_ipv4_in_its_own_form() {
        let shard = Server::new(ServerSettings::default()).shard(Instant::now()).unwrap();
        for (address, shown) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::ffff:10.0.0.1]:81", "10.0.0.1:81"),
            ("[2001:db8::1]:82", "[2001:db8::1]:82"),
            ("[fe80::1%3]:83", "[fe80::1%3]:83"),
        ] {
            let (address, shown) = (Some(address.parse().unwrap()), Some(shown.parse().unwrap()));
            let (end, _) = crate::memory::pair(1);
            let token = shard.0.adopt(Stream::Plain(Socket::Memory(end)), address, false);
            assert_eq!(shard.0.connections.borrow().get(token).unwrap().peer(), shown);
        }
        assert_eq!(shard.0.addresses.v6.borrow().len(), 2);
        shard.cancel_all();
        shard.turn(Instant::now());
        assert!(shard.0.addresses.v6.borrow().is_empty());
    }
}
