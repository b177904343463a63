//! Raw epoll over connections that are known by their index.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

const EVENTS_PER_WAIT: usize = 1024;

/// One read may take this much, as large as a server's answer to a full pipeline.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// A level-triggered poller.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_PER_WAIT) })
    }

    /// A poller for these sockets, each by its position.
    pub(crate) fn over(sockets: &[impl AsFd]) -> Result<Self> {
        let poller = Self::new()?;
        for (index, socket) in sockets.iter().enumerate() {
            poller.add(socket, index)?;
        }
        Ok(poller)
    }

    pub(crate) fn add(&self, socket: &impl AsFd, index: usize) -> Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(index as u64), EventFlags::IN)?)
    }

    /// Also wakes up once the socket takes bytes again, or no longer does.
    pub(crate) fn watch_writable(&self, socket: &impl AsFd, index: usize, watch: bool) -> Result<()> {
        let flags = if watch { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags)?)
    }

    /// Waits and returns how many connections are ready; [`Self::ready`] names them.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<usize> {
        self.events.clear();
        let timeout = Timespec::try_from(timeout)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for something, and takes silence for a fault.
    pub(crate) fn wait_for_any(&mut self, patience: Duration) -> Result<usize> {
        let count = self.wait(patience)?;
        ensure!(count > 0, "the server has been silent for {} s", patience.as_secs());
        Ok(count)
    }

    /// The index of the `nth` ready connection.
    pub(crate) fn ready(&self, nth: usize) -> usize {
        self.events[nth].data.u64() as usize
    }
}

/// The buffer that all connections read into.
pub(crate) fn read_buffer() -> Vec<u8> {
    vec![0; READ_BUFFER_BYTES]
}
