//! TLS by rustls on the same path: ciphertext in and out of the shard's own socket.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use crate::socket::Socket;

/// Ciphertext that rustls may hold for one connection while its socket is blocked.
const CIPHERTEXT_BYTES_MAX: usize = 64 << 10;

/// A socket with the TLS session on top of it.
pub(crate) struct TlsStream {
    pub(crate) socket: Socket,
    session: ServerConnection,
    /// Ciphertext that the socket has taken.
    pub(crate) sent: u64,
}

impl TlsStream {
    pub(crate) fn new(socket: Socket, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        session.set_buffer_limit(Some(CIPHERTEXT_BYTES_MAX));
        Ok(TlsStream { socket, session, sent: 0 })
    }

    /// As many bytes for the kernel, and as many of ciphertext for TLS.
    pub(crate) fn limit_unsent(&mut self, bytes: usize) {
        self.socket.limit_unsent(bytes);
        self.session.set_buffer_limit(Some(bytes));
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Peers often leave without close_notify; a cut is a cut either way.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            // Handshake answers and alerts go out even where the input was bad.
            match self.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    pub(crate) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let accepted = self.session.writer().write_vectored(parts)?;
        match self.flush() {
            // What rustls holds now goes out with the next flush.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => result?,
        }
        Ok(accepted)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.sent += self.session.write_tls(&mut self.socket)? as u64;
        }
        Ok(())
    }

    pub(crate) fn send_close_notify(&mut self) {
        self.session.send_close_notify();
        // Best effort: the peer may be gone.
        let _ = self.flush();
    }
}
