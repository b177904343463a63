//! The hub: a broker for the processes of one machine, over a Unix socket.

mod client;
mod wire;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

pub(crate) use self::client::HubEngine;
use self::wire::{Malformed, Publication, Request};

/// What waits for one node at most, if not set.
const NODE_BYTES_MAX: usize = 64 << 20;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

/// A broker for the processes of one machine, over a Unix socket.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use nexios::broker::Hub;
/// Hub::bind("/run/chat-hub.sock")?.run()
/// # }
/// ```
///
/// `nexios run --workers 4` has one of its own. Only the user who runs it may connect. A node
/// that does not read is cut as soon as 64 MiB wait for it, and says so: a
/// [`Gap`](crate::broker::Gap).
#[derive(Debug)]
#[must_use = "a hub does nothing until it runs"]
pub struct Hub {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    node_bytes_max: usize,
}

/// A hub that runs on a thread of its own; dropped, it ends.
#[derive(Debug)]
#[must_use = "dropping a running hub stops it"]
pub struct RunningHub {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    /// Listens at a path. A socket that a hub left behind which has ended is replaced.
    ///
    /// # Errors
    /// The path cannot be had: something else is there, or a hub that runs.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let is_socket = |path: &Path| path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        if is_socket(&path) && std::os::unix::net::UnixStream::connect(&path).is_err() {
            std::fs::remove_file(&path)?;
        }
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Hub { listener, path, node_bytes_max: NODE_BYTES_MAX })
    }

    /// How many bytes may wait for a node that does not read.
    pub fn node_bytes_max(mut self, bytes: usize) -> Self {
        self.node_bytes_max = bytes;
        self
    }

    /// Carries messages until the process ends.
    ///
    /// # Errors
    /// No runtime can be made.
    pub fn run(self) -> io::Result<()> {
        self.run_until(&Notify::new())
    }

    /// Carries messages on a thread of its own.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(self) -> io::Result<RunningHub> {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("nexios-hub".into()).spawn(move || {
            if let Err(error) = self.run_until(&stopped) {
                tracing::error!(%error, "the hub cannot run");
            }
        })?;
        Ok(RunningHub { stop, thread: Some(thread) })
    }

    fn run_until(self, stop: &Notify) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Hub { listener, path, node_bytes_max } = self;
        let result = runtime.block_on(async {
            let listener = UnixListener::from_std(listener)?;
            let nodes = Nodes { state: Arc::default(), bytes_max: node_bytes_max };
            tokio::select! {
                () = nodes.accept(&listener) => {}
                () = stop.notified() => {}
            }
            Ok(())
        });
        // Another hub may have taken the place; then there is nothing of this one to remove.
        let _ = std::fs::remove_file(path);
        result
    }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the hub's thread panicked");
        }
    }
}

/// All nodes that are connected.
#[derive(Clone)]
struct Nodes {
    state: Arc<Mutex<State>>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    next: u64,
    outboxes: HashMap<u64, Arc<Outbox>>,
    channels: HashMap<Arc<str>, Vec<u64>>,
}

/// What waits for one node.
#[derive(Default)]
struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    frames: Vec<Bytes>,
    bytes: usize,
    cut: bool,
}

impl Nodes {
    async fn accept(&self, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => _ = tokio::spawn(self.clone().serve(stream)),
                Err(error) => {
                    tracing::warn!(%error, "the hub cannot accept a node");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(self, stream: UnixStream) {
        let outbox = Arc::<Outbox>::default();
        let id = self.enter(&outbox);
        let (reader, writer) = stream.into_split();
        tokio::select! {
            result = self.read(id, &outbox, reader) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a node is gone");
                }
            }
            cut = write(&outbox, writer) => {
                if cut {
                    tracing::warn!(bytes = self.bytes_max, "a node was cut off: it does not read what waits for it");
                }
            }
        }
        self.leave(id);
    }

    fn enter(&self, outbox: &Arc<Outbox>) -> u64 {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.outboxes.insert(id, outbox.clone());
        id
    }

    fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        state.outboxes.remove(&id);
        state.channels.retain(|_, ids| {
            ids.retain(|other| *other != id);
            !ids.is_empty()
        });
    }

    async fn read(&self, id: u64, outbox: &Outbox, mut reader: OwnedReadHalf) -> io::Result<()> {
        let malformed = |error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
        if reader.read_u8().await? != wire::VERSION {
            return Err(malformed(Malformed));
        }
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            while let Some(request) = wire::request(&mut buffer).map_err(malformed)? {
                let ticket = self.carry_out(id, request);
                outbox.push(wire::done(ticket), usize::MAX);
            }
            buffer.reserve(READ_BYTES);
            if reader.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    fn carry_out(&self, id: u64, request: Request) -> u32 {
        let mut state = self.state.lock();
        match request {
            Request::Publish { ticket, messages } => {
                messages.iter().for_each(|message| state.publish(id, message, self.bytes_max));
                ticket
            }
            Request::Subscribe { ticket, channels } => {
                for channel in channels {
                    let ids = state.channels.entry(channel).or_default();
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                ticket
            }
            Request::Unsubscribe { ticket, channels } => {
                for channel in channels {
                    let Some(ids) = state.channels.get_mut(&channel) else { continue };
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        state.channels.remove(&channel);
                    }
                }
                ticket
            }
        }
    }
}

impl State {
    /// To all who subscribe, but for who has sent it.
    fn publish(&self, from: u64, message: &Publication, bytes_max: usize) {
        let Ok(channel) = std::str::from_utf8(&message.channel) else { return };
        let subscribers = self.channels.get(channel).into_iter().flatten().filter(|id| **id != from);
        for outbox in subscribers.filter_map(|id| self.outboxes.get(id)) {
            outbox.push(message.framed.clone(), bytes_max);
        }
    }
}

impl Outbox {
    fn push(&self, frame: Bytes, bytes_max: usize) {
        let mut queue = self.queue.lock();
        if queue.cut {
            return;
        }
        if queue.bytes + frame.len() > bytes_max {
            *queue = Queue { cut: true, ..Queue::default() };
        } else {
            queue.bytes += frame.len();
            queue.frames.push(frame);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// What waits; `None` where the node has been cut.
    fn take(&self) -> Option<Vec<Bytes>> {
        let mut queue = self.queue.lock();
        (!queue.cut).then(|| std::mem::take(&mut queue.frames))
    }

    fn wrote(&self, bytes: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
    }
}

/// Writes what waits, until the node is gone; `true` where it has been cut.
async fn write(outbox: &Outbox, mut writer: OwnedWriteHalf) -> bool {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    loop {
        let Some(frames) = outbox.take() else { return true };
        if frames.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        for frame in frames {
            buffer.extend_from_slice(&frame);
            if buffer.len() >= WRITE_BYTES && !flush(outbox, &mut writer, &mut buffer).await {
                return outbox.take().is_none();
            }
        }
        if !flush(outbox, &mut writer, &mut buffer).await {
            return outbox.take().is_none();
        }
    }
}

/// `false` where nobody takes it: the node is gone, or was cut meanwhile.
async fn flush(outbox: &Outbox, writer: &mut OwnedWriteHalf, buffer: &mut Vec<u8>) -> bool {
    let writing = writer.write_all(buffer);
    let cut = async {
        while !outbox.queue.lock().cut {
            outbox.filled.notified().await;
        }
    };
    let written = tokio::select! {
        result = writing => result.is_ok(),
        () = cut => false,
    };
    outbox.wrote(buffer.len());
    buffer.clear();
    buffer.shrink_to(WRITE_BYTES);
    written
}
