//! For whom a connection counts: its peer, or the client that a proxy names.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::peer::Key;
use super::{CloseInfo, Connection, Inner, Refusal};
use crate::hosts::Host;
use crate::metrics::Cause;
use crate::service::Service;

impl Inner {
    pub(crate) fn set_peer(&self, address: Option<SocketAddr>) {
        self.state.borrow_mut().peer.set_address(address, &self.shard.addresses, self.key());
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let peer = self.state.borrow().peer;
        peer.address(&self.shard.addresses, self.key())
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.peer().map(|address| address.ip())
    }

    /// Notes the host for which this connection is counted until its end.
    pub(crate) fn is_counted_for(&self, host: Host) {
        self.state.borrow_mut().peer.count_for(host, &self.shard.addresses, self.key());
    }

    /// Returns the host for which this connection was counted, now that it has ended.
    pub(crate) fn take_host(&self) -> Option<Host> {
        self.state.borrow_mut().peer.take_host(&self.shard.addresses, self.key())
    }

    /// Counts an upgrade that came through a proxy for the client that it names. Returns false if that has as many
    /// connections as it may: then the client has its answer.
    pub(super) fn enter_host(self: &Rc<Self>, service: &Rc<dyn Service>) -> bool {
        let peer = self.state.borrow().peer;
        let is_limited = self.shard.shared.settings.connections_per_host_max.is_some() && peer.is_counted();
        if !is_limited || peer.is_counted_for_host() || !service.is_proxy(self.peer_ip()) {
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
        let peer = self.state.get_mut().peer;
        peer.forget_address(&self.shard.addresses, self.key());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::socket::Socket;
    use crate::stream::Stream;
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
        assert_eq!(shard.0.addresses.count(), 2);
        shard.cancel_all();
        shard.turn(Instant::now());
        assert_eq!(shard.0.addresses.count(), 0);
    }
}
