//! One open connection: counts what comes in, sends from a tape of ready frames.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use rustix::io::{Errno, ioctl_fionbio, read, write};

use crate::frame::MessageCounter;

/// The same bytes again and again, so that several go out with one write.
pub(crate) struct Tape {
    bytes: Vec<u8>,
    frame_bytes: usize,
}

impl Tape {
    /// A tape that can send `frames` of these frames at once.
    pub(crate) fn new(frame: &[u8], frames: usize) -> Self {
        // One more, for a write that begins within a frame.
        Self { bytes: frame.repeat(frames + 1), frame_bytes: frame.len() }
    }
}

/// A non-blocking WebSocket.
pub(crate) struct Connection {
    socket: OwnedFd,
    counter: MessageCounter,
    /// Messages received since the opening.
    received: u64,
    unsent_bytes: usize,
    /// Where within a frame the next write begins.
    phase: usize,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Result<Self> {
        ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, counter: MessageCounter::default(), received: 0, unsent_bytes: 0, phase: 0 })
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of payload received since the opening, as they were sent.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.counter.payload_bytes()
    }

    pub(crate) fn count(&mut self, bytes: &[u8]) -> Result<usize> {
        let messages = self.counter.count(bytes)?;
        self.received += messages as u64;
        Ok(messages)
    }

    /// Reads once and returns how many messages have ended.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match read(&self.socket, &mut *buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => self.count(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues this many frames of the tape and writes what the socket takes.
    pub(crate) fn send(&mut self, tape: &Tape, frames: usize) -> Result<()> {
        self.unsent_bytes += frames * tape.frame_bytes;
        self.flush(tape)
    }

    /// Writes on. What the socket does not take waits for the next call.
    pub(crate) fn flush(&mut self, tape: &Tape) -> Result<()> {
        while self.unsent_bytes > 0 {
            let end = tape.bytes.len().min(self.phase + self.unsent_bytes);
            match write(&self.socket, &tape.bytes[self.phase..end]) {
                Ok(written) => {
                    self.unsent_bytes -= written;
                    self.phase = (self.phase + written) % tape.frame_bytes;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent_bytes > 0
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
