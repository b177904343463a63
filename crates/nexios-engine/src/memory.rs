//! An in-memory peer of a shard: no port, no kernel, and it can be slow or cut.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::id::ConnectionId;
use crate::readiness::{Injected, Readiness};

/// The client's end of an in-memory connection.
///
/// Dropping it is a close without a Close frame, as when a process dies.
pub struct MemoryClient {
    pipe: Rc<RefCell<Pipe>>,
    injected: Weak<Injected>,
    token: u32,
    id: Option<ConnectionId>,
}

/// The server's end.
pub(crate) struct MemoryEnd(Rc<RefCell<Pipe>>);

struct Pipe {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// Bytes that fit on the way to the client, like a socket's buffers.
    capacity: usize,
    server_over: bool,
    client_over: bool,
    reset: bool,
    /// The cable is out: nothing arrives, nobody is told.
    cut: bool,
    client_waker: Option<Waker>,
}

/// The in-memory server end, and what the client holds of it.
pub(crate) fn pair(
    capacity: usize,
) -> (MemoryEnd, impl FnOnce(Weak<Injected>, u32, Option<ConnectionId>) -> MemoryClient) {
    let pipe = Rc::new(RefCell::new(Pipe {
        to_server: VecDeque::new(),
        to_client: VecDeque::new(),
        capacity,
        server_over: false,
        client_over: false,
        reset: false,
        cut: false,
        client_waker: None,
    }));
    let end = MemoryEnd(pipe.clone());
    (end, move |injected, token, id| MemoryClient { pipe, injected, token, id })
}

impl MemoryClient {
    /// The server's name for this connection.
    pub fn id(&self) -> Option<ConnectionId> {
        self.id
    }

    /// Sends bytes to the server.
    pub fn write(&self, bytes: &[u8]) {
        let mut pipe = self.pipe.borrow_mut();
        if pipe.cut || pipe.client_over {
            return;
        }
        pipe.to_server.extend(bytes);
        drop(pipe);
        self.tell(Readiness { readable: true, ..Readiness::default() });
    }

    /// Takes what has arrived, at most `max` bytes; `Ready(Ok(empty))` is the end of the stream.
    ///
    /// # Errors
    /// `ConnectionReset` where the server reset the connection.
    pub fn poll_read(&self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut pipe = self.pipe.borrow_mut();
        if !pipe.cut && !pipe.to_client.is_empty() {
            let n = pipe.to_client.len().min(max);
            let bytes = pipe.to_client.drain(..n).collect();
            drop(pipe);
            self.tell(Readiness { writable: true, ..Readiness::default() });
            return Poll::Ready(Ok(bytes));
        }
        if pipe.reset && !pipe.cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.server_over && !pipe.cut {
            return Poll::Ready(Ok(Vec::new()));
        }
        pipe.client_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Says that the client sends no more (FIN).
    pub fn shutdown(&self) {
        let mut pipe = self.pipe.borrow_mut();
        if pipe.cut || pipe.client_over {
            return;
        }
        pipe.client_over = true;
        drop(pipe);
        self.tell(Readiness { readable: true, read_closed: true, ..Readiness::default() });
    }

    /// Kills the connection (RST).
    pub fn reset(&self) {
        self.pipe.borrow_mut().reset = true;
        self.tell(Readiness { readable: true, read_closed: true, error: true, ..Readiness::default() });
    }

    /// Pulls the cable: from now on nothing arrives on either side, and nobody is told.
    pub fn cut(&self) {
        self.pipe.borrow_mut().cut = true;
    }

    fn tell(&self, readiness: Readiness) {
        if let Some(injected) = self.injected.upgrade() {
            injected.push(self.token, readiness);
        }
    }
}

impl Drop for MemoryClient {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl MemoryEnd {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if pipe.to_server.is_empty() {
            return if pipe.client_over { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = pipe.to_server.len().min(buffer.len());
        for (slot, byte) in buffer.iter_mut().zip(pipe.to_server.drain(..n)) {
            *slot = byte;
        }
        Ok(n)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let n = bytes.len().min(pipe.capacity.saturating_sub(pipe.to_client.len()));
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.to_client.extend(&bytes[..n]);
        pipe.wake_client();
        Ok(n)
    }

    pub(crate) fn shutdown_write(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.server_over = true;
        pipe.wake_client();
    }

    pub(crate) fn reset(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.reset = true;
        pipe.wake_client();
    }
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        self.shutdown_write();
    }
}

impl Pipe {
    fn wake_client(&mut self) {
        if let Some(waker) = self.client_waker.take() {
            waker.wake();
        }
    }
}
