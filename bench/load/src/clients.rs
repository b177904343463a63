//! Many connections that send the same frame and count the answers.

use anyhow::Result;

use crate::connection::{Connection, Tape};
use crate::content::Content;
use crate::opening;
use crate::poller::{Poller, read_buffer};
use crate::target::Target;

/// Open connections, each known by its index.
pub(crate) struct Clients {
    connections: Vec<Connection>,
    /// Whether the poller also waits until the socket takes bytes.
    watched: Vec<bool>,
    tape: Tape,
    poller: Poller,
    buffer: Vec<u8>,
}

impl Clients {
    /// Opens the connections; `at_once` is the most frames that one call sends.
    pub(crate) fn open(target: &Target, path: &str, count: usize, content: Content, at_once: usize) -> Result<Self> {
        Self::open_sending(target, path, count, content.deflate, &content.frame(target.kind()), at_once)
    }

    /// Opens connections that send this frame.
    pub(crate) fn open_sending(
        target: &Target,
        path: &str,
        count: usize,
        deflate: bool,
        frame: &[u8],
        at_once: usize,
    ) -> Result<Self> {
        let connections = opening::open_many(target, path, count, deflate)?;
        Ok(Self {
            watched: vec![false; count],
            tape: Tape::new(frame, at_once),
            poller: Poller::over(&connections)?,
            buffer: read_buffer(),
            connections,
        })
    }

    pub(crate) fn poller(&mut self) -> &mut Poller {
        &mut self.poller
    }

    /// Reads once from a connection and returns how many messages have ended.
    pub(crate) fn receive(&mut self, index: usize) -> Result<usize> {
        self.connections[index].receive(&mut self.buffer)
    }

    /// Sends frames, and what could not be sent before.
    pub(crate) fn send(&mut self, index: usize, frames: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.send(&self.tape, frames)?;
        if connection.has_unsent() != self.watched[index] {
            self.watched[index] = connection.has_unsent();
            self.poller.watch_writable(connection, index, self.watched[index])?;
        }
        Ok(())
    }

    /// Mean bytes of payload of the messages received so far, as they came over the wire.
    pub(crate) fn payload_bytes_per_message(&self) -> f64 {
        let bytes: u64 = self.connections.iter().map(Connection::payload_bytes).sum();
        let messages: u64 = self.connections.iter().map(Connection::received).sum();
        bytes as f64 / messages.max(1) as f64
    }
}
