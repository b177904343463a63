//! The byte stream under a connection: TCP, Unix or in memory, plain or under TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::event::Source;
use mio::{Registry, Token};

use crate::socket::Socket;
use crate::tls::TlsStream;

/// What a connection reads from and writes to.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
    /// The descriptor has been given back.
    Closed,
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
