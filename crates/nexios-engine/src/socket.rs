//! A non-blocking socket of one kind: TCP, Unix or in memory.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
#[cfg(target_os = "linux")]
use rustix::net::{RecvFlags, SendFlags};

use crate::memory::MemoryEnd;

/// A non-blocking socket of one kind.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Memory(MemoryEnd),
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

    pub(crate) fn shutdown_write(&mut self) {
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
    pub(crate) fn reset_on_close(&mut self) {
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
