//! Taking connections in from the listeners, and refusing those for which there is no room.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use rustix::io::Errno;

use crate::hosts::Host;
use crate::listener::{FIRST_LISTENER, TlsConfig, refuse};
use crate::metrics::Cause;
use crate::readiness::Readiness;
use crate::shard::ShardInner;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::TlsStream;

/// Connections taken from one listener before the others get their turn.
const ACCEPTS_PER_TURN: usize = 64;

impl ShardInner {
    /// A listener has news.
    pub(crate) fn accept_from(self: &Rc<Self>, token: usize) {
        self.io.listeners().delay(token - FIRST_LISTENER);
    }

    /// Takes waiting connections, a bounded number for each listener and turn.
    pub(crate) fn accept_delayed(self: &Rc<Self>) {
        if !self.io.listeners().is_ready(self.now()) {
            return;
        }
        let count = self.io.listeners().count();
        for index in 0..count {
            self.accept_some(index);
        }
        if self.io.listeners().is_ready(self.now()) {
            self.io.notify_again();
        }
    }

    fn accept_some(self: &Rc<Self>, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let mut listeners = self.io.listeners();
            match listeners.accept(index, self.now()) {
                None => return,
                Some(Ok((socket, peer, tls))) => {
                    drop(listeners);
                    self.take_in(socket, peer, tls);
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(Err(error)) if is_exhaustion(&error) => {
                    self.shared.metrics.refused(Cause::Descriptors);
                    tracing::warn!(%error, "no descriptor left for a new connection");
                    return listeners.on_exhausted(index, self.now());
                }
                Some(Err(error)) if is_of_one_connection(&error) => tracing::debug!(%error, "accept failed"),
                Some(Err(error)) => return listeners.on_failure(index, &error, self.now()),
            }
        }
    }

    fn take_in(self: &Rc<Self>, socket: Socket, peer: Option<SocketAddr>, tls: Option<TlsConfig>) {
        let ip: Option<IpAddr> = peer.map(|peer| peer.ip());
        // Connections that a proxy passes on count for its clients, which only their requests name.
        let is_proxy = self.service().is_some_and(|service| service.is_proxy(ip));
        let host = ip.filter(|_| !is_proxy).map(|ip| Host::of(Some(ip)));
        if let Err(cause) = self.shared.enter(host, self.now()) {
            self.shared.metrics.refused(cause);
            tracing::warn!(cause = cause.name(), ?ip, "connection refused");
            return refuse(socket, tls.is_some());
        }
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(config) => match TlsStream::new(socket, config) {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err(error) => {
                    tracing::error!(%error, "TLS settings cannot serve");
                    return self.shared.leave(host);
                }
            },
        };
        let token = self.adopt(stream, peer, true);
        if let (Some(host), Some(inner)) = (host, self.connections.borrow().get(token)) {
            inner.is_counted_for(host);
        }
        if let Err(error) = self.register(token) {
            tracing::error!(%error, "cannot watch a new connection");
            self.io.injected().push(token, Readiness { error: true, readable: true, ..Readiness::default() });
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM])
}

/// The peer has left again, or the network has lost it: the next connection may be well. Linux hands out
/// errors of the network that way, and a firewall's refusal as EPERM.
fn is_of_one_connection(error: &io::Error) -> bool {
    let passing = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::TIMEDOUT,
    ];
    is_one_of(error, &passing)
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| errnos.iter().any(|errno| errno.raw_os_error() == code))
}
