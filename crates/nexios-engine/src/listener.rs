//! Accepting connections, and what happens when there is no room for them.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Type};

use crate::hosts::Host;
use crate::metrics::Cause;
use crate::readiness::Readiness;
use crate::shard::{FIRST_LISTENER, ShardInner};
use crate::socket_file::SocketFile;
use crate::stream::{Socket, Stream};
use crate::tls::TlsStream;

/// Connections taken from one listener before the others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Waiting connections that the kernel holds for us.
const BACKLOG: i32 = 4096;
/// Unsent bytes in the kernel beyond which a socket counts as blocked: otherwise a slow
/// client hides in megabytes of kernel buffer.
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// Longest time without an acknowledgement before the kernel gives a connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A listening socket, plain or for TLS. Cloning it lets several shards accept from it.
pub struct Listener {
    socket: OwnedFd,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// That of a Unix socket. The last of the shards that accept from it removes it.
    file: Option<Arc<SocketFile>>,
}

/// The listeners of one shard.
#[derive(Default)]
pub(crate) struct Listeners {
    list: Vec<Registered>,
    /// Held back, so that even without descriptors a connection can be taken and refused.
    reserve: Option<File>,
}

struct Registered {
    socket: Acceptor,
    tls: Option<Arc<rustls::ServerConfig>>,
    _file: Option<Arc<SocketFile>>,
    /// More connections may be waiting than were taken.
    delayed: bool,
    /// After a failure: the next attempt, and how long it was waited for.
    backoff: Option<(Instant, Duration)>,
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on an address; port 0 picks a free one.
    ///
    /// # Errors
    /// What the operating system says: the address is in use, not ours, or needs privileges.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Listener::bind_shared(address, false)
    }

    /// As [`bind`](Self::bind); with `reuse_port` several processes may share the port.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_shared(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener { socket: socket.into(), tls: None, file: None })
    }

    /// Listens on a Unix socket. Replaces a socket that nobody listens on, and no other file.
    /// The file is removed when the last shard stops listening, if it is still the same file.
    ///
    /// # Errors
    /// What the operating system says; `AddrInUse` where somebody listens there; `AlreadyExists` where there is
    /// something else: a file, a directory, a symbolic link.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        let (socket, file) = SocketFile::bind(path)?;
        Ok(Listener { socket, tls: None, file: Some(Arc::new(file)) })
    }

    /// A socket that listens already, from a parent process or systemd.
    ///
    /// # Errors
    /// It is no socket, or none that connections can be accepted from: it is connected, does not listen, or is one
    /// for datagrams.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Self> {
        require_listening(&socket)?;
        Ok(Listener { socket, tls: None, file: None })
    }

    /// The same for TLS.
    pub fn with_tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Where it listens, for people: `127.0.0.1:8000`, `unix:/run/chat.sock`.
    pub fn place(&self) -> String {
        if let Some(address) = self.local_address() {
            return address.to_string();
        }
        let address = SockRef::from(&self.socket).local_addr().ok();
        let path = address.as_ref().and_then(socket2::SockAddr::as_pathname);
        path.map_or_else(|| "unix".to_owned(), |path| format!("unix:{}", path.display()))
    }

    /// The address it listens on; `None` for a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SockRef::from(&self.socket).local_addr().ok()?.as_socket()
    }

    pub(crate) fn is_unix(&self) -> bool {
        SockRef::from(&self.socket).local_addr().is_ok_and(|address| address.domain() == Domain::UNIX)
    }

    /// The socket itself, which another process may inherit.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Another handle to the same socket, for another shard.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Listener { socket: self.socket.try_clone()?, tls: self.tls.clone(), file: self.file.clone() })
    }

    fn prepare(self) -> io::Result<(Acceptor, Option<Arc<rustls::ServerConfig>>)> {
        let socket = SockRef::from(&self.socket);
        socket.set_nonblocking(true)?;
        let domain = socket.local_addr()?.domain();
        if domain == Domain::UNIX {
            return Ok((Acceptor::Unix(UnixListener::from_std(self.socket.into())), self.tls));
        }
        // Accepted sockets inherit these from the listener on Linux.
        tune(&self.socket);
        Ok((Acceptor::Tcp(TcpListener::from_std(self.socket.into())), self.tls))
    }
}

fn require_listening(socket: &OwnedFd) -> io::Result<()> {
    let unusable = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    let socket = SockRef::from(socket);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()) => {
            return unusable("it is no socket: expected one that listens");
        }
        Err(error) => return Err(error),
    };
    if kind != Type::STREAM {
        return unusable("the socket is not a stream socket: expected one for TCP or a Unix socket, that listens");
    }
    let domain = socket.local_addr()?.domain();
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return unusable("the socket is neither for TCP nor a Unix socket");
    }
    if !socket.is_listener()? {
        let what = if socket.peer_addr().is_ok() { "is connected" } else { "does not listen" };
        return unusable(&format!("the socket {what}: expected one that listens"));
    }
    Ok(())
}

/// Options that make a socket better and that it works without.
fn tune(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    let mut results = vec![socket.set_tcp_nodelay(true)];
    #[cfg(target_os = "linux")]
    {
        results.push(socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
        results.push(socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    }
    if let Some(error) = results.into_iter().find_map(Result::err) {
        tracing::debug!(%error, "a socket option was not taken");
    }
}

impl Acceptor {
    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                #[cfg(not(target_os = "linux"))]
                tune(&socket);
                Ok((Socket::Tcp(socket), Some(peer)))
            }
            Acceptor::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), None)),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Acceptor::Tcp(listener) => listener,
            Acceptor::Unix(listener) => listener,
        }
    }
}

impl Listeners {
    pub(crate) fn add(&mut self, registry: &Registry, listener: Listener) -> io::Result<()> {
        let file = listener.file.clone();
        let (mut socket, tls) = listener.prepare()?;
        let token = Token(FIRST_LISTENER + self.list.len());
        registry.register(socket.source(), token, Interest::READABLE)?;
        self.list.push(Registered { socket, tls, _file: file, delayed: true, backoff: None });
        if self.reserve.is_none() {
            self.reserve = File::open("/dev/null").ok();
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, registry: &Registry) {
        for mut registered in self.list.drain(..) {
            // Closing the descriptor deregisters it anyway.
            let _ = registry.deregister(registered.socket.source());
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.list.iter().filter_map(|registered| registered.backoff).map(|(until, _)| until).min()
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.list.iter().any(|registered| registered.is_ready(now))
    }

    /// No descriptor is left: gives up the reserve to take one connection and drop it, so that
    /// its client is told, then waits a little longer each time.
    fn on_exhausted(&mut self, index: usize, now: Instant) {
        self.reserve = None;
        if let Ok((socket, _)) = self.list[index].socket.accept() {
            refuse(socket, self.list[index].tls.is_some());
        }
        self.reserve = File::open("/dev/null").ok();
        self.list[index].back_off(now);
    }
}

impl Registered {
    /// Returns whether connections may be waiting and it is time to take them.
    fn is_ready(&self, now: Instant) -> bool {
        self.delayed && self.backoff.is_none_or(|(until, _)| until <= now)
    }

    /// Waits a little longer each time, until an accept succeeds.
    fn back_off(&mut self, now: Instant) {
        let delay = self.backoff.map_or(BACKOFF_MIN, |(_, delay)| (delay * 2).min(BACKOFF_MAX));
        self.backoff = Some((now + delay, delay));
    }

    /// A failure that lasts: logged with the first of its attempts.
    fn on_failure(&mut self, error: &io::Error, now: Instant) {
        if self.backoff.is_none() {
            tracing::error!(%error, "cannot accept connections from a listener: trying again until it works");
        }
        self.back_off(now);
    }
}

impl ShardInner {
    /// A listener has news.
    pub(crate) fn accept_from(self: &Rc<Self>, token: usize) {
        if let Some(registered) = self.io.listeners().list.get_mut(token - FIRST_LISTENER) {
            registered.delayed = true;
        }
    }

    /// Takes waiting connections, a bounded number for each listener and turn.
    pub(crate) fn accept_delayed(self: &Rc<Self>) {
        if !self.io.listeners().is_ready(self.now()) {
            return;
        }
        let count = self.io.listeners().list.len();
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
            let Some(registered) = listeners.list.get_mut(index) else { return };
            if !registered.is_ready(self.now()) {
                return;
            }
            match registered.socket.accept() {
                Ok((socket, peer)) => {
                    let tls = registered.tls.clone();
                    registered.backoff = None;
                    drop(listeners);
                    self.take_in(socket, peer, tls);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    registered.delayed = false;
                    registered.backoff = None;
                }
                Err(error) if is_exhaustion(&error) => {
                    self.shared.metrics.refused(Cause::Descriptors);
                    tracing::warn!(%error, "no descriptor left for a new connection");
                    return listeners.on_exhausted(index, self.now());
                }
                Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "accept failed"),
                Err(error) => return registered.on_failure(&error, self.now()),
            }
        }
    }

    fn take_in(self: &Rc<Self>, socket: Socket, peer: Option<SocketAddr>, tls: Option<Arc<rustls::ServerConfig>>) {
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

/// 503 for a client over plain HTTP; one under TLS sees the connection close.
fn refuse(mut socket: Socket, tls: bool) {
    if !tls {
        // Into an empty socket buffer; whether the client still listens is its affair.
        let _ = socket.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
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
