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
    /// What the socket did not take yet: answers, and at most what is published in one run.
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A member, and the server's end of its connection.
    fn connected(protocol: Protocol) -> (Member, UnixStream) {
        let (client, server) = UnixStream::pair().unwrap();
        (Member::new(client.into(), protocol).unwrap(), server)
    }

    fn heard(member: &mut Member) -> Result<Vec<String>> {
        let mut messages = Vec::new();
        member.receive(&mut [0; 4096], |message| {
            messages.push(String::from_utf8_lossy(message).into_owned());
            Ok(())
        })?;
        Ok(messages)
    }

    fn answer(server: &mut UnixStream, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        server.read_exact(&mut answer).unwrap();
        answer
    }

    #[test]
    fn pings_are_answered_and_are_no_messages() {
        let (mut member, mut server) = connected(Protocol::Plain);
        server.write_all(b"\x89\x02hi\x81\x01a").unwrap();
        assert_eq!(heard(&mut member).unwrap(), ["a"]);
        let pong = frame::masked_pong(b"hi");
        assert_eq!(answer(&mut server, pong.len()), pong);
    }

    #[test]
    fn pings_of_engine_io_are_answered() {
        let (mut member, mut server) = connected(Protocol::SocketIo);
        server.write_all(b"\x81\x012\x81\x1142[\"message\",\"a\"]\x81\x012").unwrap();
        assert_eq!(heard(&mut member).unwrap(), ["a"]);
        let pongs = Protocol::SocketIo.pong().repeat(2);
        assert_eq!(answer(&mut server, pongs.len()), pongs);
    }

    #[test]
    fn an_end_is_an_error_and_so_is_a_fragment() {
        for bytes in [&b"\x88\x00"[..], b"\x01\x01a"] {
            let (mut member, mut server) = connected(Protocol::Plain);
            server.write_all(bytes).unwrap();
            assert!(heard(&mut member).is_err());
        }
        let (mut member, server) = connected(Protocol::Plain);
        assert!(heard(&mut member).unwrap().is_empty());
        drop(server);
        assert!(heard(&mut member).is_err());
    }
}
