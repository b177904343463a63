//! The byte stream under a connection: TCP, Unix or in memory, plain or under TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
#[cfg(target_os = "linux")]
use rustix::net::{RecvFlags, SendFlags};

use crate::memory::MemoryEnd;
use crate::tls::TlsStream;

/// A non-blocking socket of one kind.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Memory(MemoryEnd),
}

/// What a connection reads from and writes to.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
    /// The descriptor has been given back.
    Closed,
}

impl Socket {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(socket) => socket.register(registry, token, interest),
            Socket::Unix(socket) => socket.register(registry, token, interest),
            Socket::Memory(_) => Ok(()),
        }
    }

    fn shutdown_write(&mut self) {
        // A peer that is gone already is no news here.
        let _ = match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
            Socket::Memory(end) => {
                end.shutdown_write();
                Ok(())
            }
        };
    }

    /// Lets the kernel hold so many bytes unsent; a memory connection has no kernel.
    pub(crate) fn limit_unsent(&self, bytes: usize) {
        let limited = match self {
            #[cfg(target_os = "linux")]
            Socket::Tcp(socket) => {
                socket2::SockRef::from(socket).set_tcp_notsent_lowat(u32::try_from(bytes).unwrap_or(u32::MAX))
            }
            #[cfg(not(target_os = "linux"))]
            Socket::Tcp(socket) => socket2::SockRef::from(socket).set_send_buffer_size(bytes),
            Socket::Unix(socket) => socket2::SockRef::from(socket).set_send_buffer_size(bytes),
            Socket::Memory(_) => Ok(()),
        };
        if let Err(error) = limited {
            tracing::debug!(%error, "a socket option was not taken");
        }
    }

    /// Makes the coming close a reset, so that nothing lingers in the kernel.
    fn reset_on_close(&mut self) {
        match self {
            Socket::Tcp(socket) => {
                let _ = socket2::SockRef::from(&*socket).set_linger(Some(std::time::Duration::ZERO));
            }
            Socket::Unix(_) => {}
            Socket::Memory(end) => end.reset(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            // Without libc, whose calls prepare to be cancelled: 1 % of an echo.
            #[cfg(target_os = "linux")]
            Socket::Tcp(socket) => Ok(rustix::net::recv(socket, buffer, RecvFlags::empty())?.0),
            #[cfg(not(target_os = "linux"))]
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Memory(end) => end.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(target_os = "linux")]
            Socket::Tcp(socket) => Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?),
            #[cfg(not(target_os = "linux"))]
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
            Socket::Memory(end) => end.write(bytes),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write_vectored(parts),
            Socket::Unix(socket) => socket.write_vectored(parts),
            Socket::Memory(end) => parts.first().map_or(Ok(0), |part| end.write(part)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.register(registry, token),
            Stream::Tls(tls) => tls.socket.register(registry, token),
            Stream::Closed => Ok(()),
        }
    }

    /// Takes plaintext out; `Ok(0)` is the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Stream::Plain(socket) => socket.read(buffer),
                Stream::Tls(tls) => tls.read(buffer),
                Stream::Closed => Ok(0),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Whether plaintext may be left where no readiness event will tell of it.
    pub(crate) fn may_hold_plaintext(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    pub(crate) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match self {
                Stream::Plain(socket) => match parts {
                    [one] => socket.write(one),
                    many => socket.write_vectored(many),
                },
                Stream::Tls(tls) => tls.write_vectored(parts),
                Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) if parts.iter().any(|part| !part.is_empty()) => return Err(io::ErrorKind::WriteZero.into()),
                result => return result,
            }
        }
    }

    /// Sends what TLS still holds; `Err(WouldBlock)` as long as some is left.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tls(tls) => tls.flush(),
            Stream::Plain(_) | Stream::Closed => Ok(()),
        }
    }

    /// Lets so many bytes lie unsent behind what was written: half of it may be one write beyond the mark, and of the
    /// other half TLS holds a part.
    pub(crate) fn limit_unsent(&mut self, bytes: usize) {
        match self {
            Stream::Plain(socket) => socket.limit_unsent((bytes / 2).max(1)),
            Stream::Tls(tls) => tls.limit_unsent((bytes / 4).max(1)),
            Stream::Closed => {}
        }
    }

    /// Bytes that TLS has handed to its socket so far: what was written to it may go out later.
    pub(crate) fn ciphertext_sent(&self) -> u64 {
        match self {
            Stream::Tls(tls) => tls.sent,
            Stream::Plain(_) | Stream::Closed => 0,
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shutdown_write(&mut self) {
        match self {
            Stream::Plain(socket) => socket.shutdown_write(),
            Stream::Tls(tls) => {
                tls.send_close_notify();
                tls.socket.shutdown_write();
            }
            Stream::Closed => {}
        }
    }

    /// Gives the descriptor back; `reset` tells the peer by RST instead of FIN.
    pub(crate) fn close(&mut self, registry: &Registry, reset: bool) {
        let mut socket = match std::mem::replace(self, Stream::Closed) {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.socket,
            Stream::Closed => return,
        };
        if reset {
            socket.reset_on_close();
        }
        // Closing the descriptor deregisters it anyway.
        let _ = match &mut socket {
            Socket::Tcp(socket) => socket.deregister(registry),
            Socket::Unix(socket) => socket.deregister(registry),
            Socket::Memory(_) => Ok(()),
        };
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// `None` on a Unix socket or in memory.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        let socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.socket,
            Stream::Closed => return None,
        };
        match socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) | Socket::Memory(_) => None,
        }
    }
}
