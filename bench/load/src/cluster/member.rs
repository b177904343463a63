//! One client of a node: reads whole messages and answers signs of life.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::{Errno, ioctl_fionbio, read, write};

use crate::cluster::frames::Frames;
use crate::cluster::protocol::{Heard, Protocol};
use crate::frame::{self, CLOSE, PING, PONG};
use crate::opening;
use crate::target::Target;

/// A non-blocking WebSocket whose messages are looked at.
pub(crate) struct Member {
    socket: OwnedFd,
    protocol: Protocol,
    frames: Frames,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

impl Member {
    /// Opens the `index`th connection of a run.
    pub(crate) fn open(node: &Target, protocol: Protocol, path: &str, index: usize) -> Result<Self> {
        let (socket, mut received) = opening::shake_hands(node, path, index, false)?;
        protocol.open(&socket, &mut received).with_context(|| format!("connection {index} on {path}"))?;
        let mut member = Self::new(socket, protocol)?;
        member.frames.take(&received, |_, _| Ok(()))?;
        Ok(member)
    }

    /// A connection whose handshake is done.
    pub(crate) fn new(socket: OwnedFd, protocol: Protocol) -> Result<Self> {
        ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, protocol, frames: Frames::default(), unsent: Vec::new() })
    }

    /// Opens a connection that is in the room, or will be in a moment.
    pub(crate) fn join(node: &Target, protocol: Protocol, index: usize) -> Result<Self> {
        let mut member = Self::open(node, protocol, protocol.room_path(), index)?;
        if let Some(join) = protocol.join() {
            member.send(&join)?;
        }
        Ok(member)
    }

    /// Sends a frame, or as much as the socket takes: the next call goes on.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.unsent.extend_from_slice(frame);
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        flush(&self.socket, &mut self.unsent)
    }

    /// Reads once and hands out every message that has ended.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let length = match read(&self.socket, &mut *buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Self { protocol, frames, unsent, socket } = self;
        frames.take(&buffer[..length], |header, payload| {
            match header.opcode {
                CLOSE => bail!("the server closed a connection: {payload:?}"),
                PING => unsent.extend(frame::masked_pong(payload)),
                PONG => {}
                _ => {
                    ensure!(header.fin, "a message is fragmented");
                    match protocol.hear(payload)? {
                        Heard::Message(message) => each(message)?,
                        Heard::Ping => unsent.extend(protocol.pong()),
                        Heard::Other => {}
                    }
                }
            }
            Ok(())
        })?;
        flush(socket, unsent)
    }
}

fn flush(socket: &OwnedFd, unsent: &mut Vec<u8>) -> Result<()> {
    while !unsent.is_empty() {
        match write(socket, unsent.as_slice()) {
            Ok(written) => drop(unsent.drain(..written)),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl AsFd for Member {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
