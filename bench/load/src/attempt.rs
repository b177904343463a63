//! A handshake under way among many: it never blocks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, connect};

use crate::handshake;
use crate::opening;
use crate::poller::Poller;
use crate::target::Target;

/// One connection from its first packet to the server's 101.
pub(crate) struct Attempt {
    socket: OwnedFd,
    began: Instant,
    sent: bool,
    head: Vec<u8>,
}

/// What is asked for, the same for all.
pub(crate) struct Asked {
    request: Vec<u8>,
}

impl Asked {
    pub(crate) fn new(target: &Target, path: &str) -> Self {
        Self::with(target, path, "")
    }

    /// With fields of its own in the request, each ended by CRLF.
    pub(crate) fn with(target: &Target, path: &str, fields: &str) -> Self {
        Self { request: handshake::request_with(path, target.address, fields) }
    }
}

impl Attempt {
    /// Connects from the source of the `source`th connection; the poller will know it as `index`.
    pub(crate) fn begin(target: &Target, asked: &Asked, poller: &Poller, source: usize, index: usize) -> Result<Self> {
        let began = Instant::now();
        let socket = opening::socket_from(opening::source(source), target.address, SocketFlags::NONBLOCK)?;
        match connect(&socket, &target.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).with_context(|| format!("connect to {}", target.address)),
        }
        let mut attempt = Self { socket, began, sent: false, head: Vec::new() };
        attempt.send(asked)?;
        poller.add(&attempt, index)?;
        if !attempt.sent {
            poller.watch_writable(&attempt, index, true)?;
        }
        Ok(attempt)
    }

    /// The socket, once the 101 is there.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Goes on once the poller says so, and returns whether the 101 is there.
    pub(crate) fn advance(&mut self, asked: &Asked, poller: &Poller, index: usize) -> Result<bool> {
        if !self.sent {
            self.send(asked)?;
            if self.sent {
                poller.watch_writable(&*self, index, false)?;
            }
            return Ok(false);
        }
        let mut chunk = [0; handshake::HEAD_BYTES_MAX];
        match read(&self.socket, &mut chunk) {
            Ok(0) => bail!("the server closed a connection instead of accepting it"),
            // Most heads come whole.
            Ok(length) if self.head.is_empty() && handshake::head_end(&chunk[..length], false)?.is_some() => Ok(true),
            Ok(length) => {
                self.head.extend_from_slice(&chunk[..length]);
                Ok(handshake::head_end(&self.head, false)?.is_some())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error).context("a handshake under way"),
        }
    }

    /// The request is shorter than any socket's buffer: it goes out whole or, before the
    /// connection stands, not at all.
    fn send(&mut self, asked: &Asked) -> Result<()> {
        match write(&self.socket, &asked.request) {
            Ok(_) => self.sent = true,
            Err(Errno::AGAIN | Errno::NOTCONN | Errno::INTR) => {}
            Err(error) => return Err(error).context("a connection under way"),
        }
        Ok(())
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
