//! The address of a connection's peer, in seven bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

use super::bits::Bits;
use crate::hosts::Host;

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
pub(super) type Key = (u32, u32);

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

    /// Notes the address; one that is too long is kept by `addresses`.
    pub(super) fn set_address(&mut self, address: Option<SocketAddr>, addresses: &Addresses, key: Key) {
        self.address = Address::of(address);
        if let (Address::V6, Some(SocketAddr::V6(v6))) = (self.address, address) {
            addresses.v6.borrow_mut().insert(key, v6);
        }
    }

    pub(super) fn address(self, addresses: &Addresses, key: Key) -> Option<SocketAddr> {
        match self.address {
            Address::Unnamed => None,
            Address::V4(ip, port) => Some(SocketAddr::new(ip.into(), u16::from_ne_bytes(port))),
            Address::V6 => addresses.v6.borrow().get(&key).map(|v6| SocketAddr::V6(*v6)),
        }
    }

    /// Forgets what is kept for this peer.
    pub(super) fn forget_address(self, addresses: &Addresses, key: Key) {
        if let Address::V6 = self.address {
            addresses.v6.borrow_mut().remove(&key);
        }
    }

    /// Notes that the connection is counted for a host until its end.
    pub(super) fn count_for(&mut self, host: Host, addresses: &Addresses, key: Key) {
        if host != Host::of(self.address(addresses, key).map(|address| address.ip())) {
            addresses.hosts_behind.borrow_mut().insert(key, host);
        }
        self.counted.set(COUNTED_FOR_HOST, true);
    }

    pub(super) fn is_counted_for_host(self) -> bool {
        self.counted.has(COUNTED_FOR_HOST)
    }

    /// Returns the host for which the connection was counted, now that it has ended.
    pub(super) fn take_host(&mut self, addresses: &Addresses, key: Key) -> Option<Host> {
        let is_counted = self.counted.take(COUNTED_FOR_HOST);
        let behind = addresses.hosts_behind.borrow_mut().remove(&key);
        let own = || Host::of(self.address(addresses, key).map(|address| address.ip()));
        is_counted.then(|| behind.unwrap_or_else(own))
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

impl Addresses {
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.v6.borrow().len()
    }
}
