//! Accepting connections, and what happens when there is no room for them.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Type};

use crate::socket::Socket;
use crate::socket_file::SocketFile;

/// The token of the first listener; those of connections are below.
pub(crate) const FIRST_LISTENER: usize = usize::MAX / 2;
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

/// What TLS needs to serve a listener's connections.
pub(crate) type TlsConfig = Arc<rustls::ServerConfig>;

/// A connection from a listener: its socket, its peer, and what TLS needs.
pub(crate) type Accepted = (Socket, Option<SocketAddr>, Option<TlsConfig>);

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

    /// A listener has news.
    pub(crate) fn delay(&mut self, index: usize) {
        if let Some(registered) = self.list.get_mut(index) {
            registered.delayed = true;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Accepts from a listener; `None` if nothing waits there, or not yet again.
    pub(crate) fn accept(&mut self, index: usize, now: Instant) -> Option<io::Result<Accepted>> {
        let registered = self.list.get_mut(index).filter(|registered| registered.is_ready(now))?;
        let accepted = registered.socket.accept();
        match &accepted {
            Ok(_) => registered.backoff = None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                registered.delayed = false;
                registered.backoff = None;
            }
            Err(_) => {}
        }
        Some(accepted.map(|(socket, peer)| (socket, peer, registered.tls.clone())))
    }

    /// A failure that lasts.
    pub(crate) fn on_failure(&mut self, index: usize, error: &io::Error, now: Instant) {
        if let Some(registered) = self.list.get_mut(index) {
            registered.on_failure(error, now);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.list.iter().filter_map(|registered| registered.backoff).map(|(until, _)| until).min()
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.list.iter().any(|registered| registered.is_ready(now))
    }

    /// No descriptor is left: gives up the reserve to take one connection and drop it, so that
    /// its client is told, then waits a little longer each time.
    pub(crate) fn on_exhausted(&mut self, index: usize, now: Instant) {
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

/// 503 for a client over plain HTTP; one under TLS sees the connection close.
pub(crate) fn refuse(mut socket: Socket, tls: bool) {
    if !tls {
        // Into an empty socket buffer; whether the client still listens is its affair.
        let _ = socket.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
}
