//! The hub: a broker for the processes of one machine, over a Unix socket.

mod answers;
mod client;
mod nodes;
mod outbox;
mod wire;
mod wire_log;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use nexios_protocol::escaped;
use tokio::net::UnixListener;
use tokio::sync::Notify;

pub(crate) use self::client::HubEngine;
use self::nodes::Nodes;
use crate::engines::memory_log;

/// What waits for one node at most, if not set.
const NODE_BYTES_MAX: usize = 64 << 20;

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
/// [`Gap`](crate::Gap).
///
/// The histories of rooms are in the memory of the hub, 256 MiB at most, and end with it: a hub that is
/// started anew begins a new epoch. A room that nobody uses for as long as it remembers (or five
/// minutes, where that is longer) is forgotten; where there is no room for more, the one that
/// was used least recently.
#[derive(Debug)]
#[must_use = "a hub does nothing until it runs"]
pub struct Hub {
    listener: std::os::unix::net::UnixListener,
    /// Removed when the hub ends, if it is still its own.
    file: nexios_engine::SocketFile,
    node_bytes_max: usize,
    history_bytes_max: usize,
}

/// A hub that runs on a thread of its own; dropped, it ends.
#[derive(Debug)]
#[must_use = "dropping a running hub stops it"]
pub struct RunningHub {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    /// Listens at a path. Replaces only a socket that nobody listens on: one that a hub left behind when it was killed.
    ///
    /// # Errors
    /// The path cannot be had: something else is there, or somebody listens.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let (listener, file) = nexios_engine::bind_private(path.as_ref())?;
        listener.set_nonblocking(true)?;
        Ok(Hub { listener, file, node_bytes_max: NODE_BYTES_MAX, history_bytes_max: memory_log::BYTES_MAX })
    }

    /// How many bytes may wait for a node that does not read.
    pub fn node_bytes_max(mut self, bytes: usize) -> Self {
        self.node_bytes_max = bytes;
        self
    }

    /// Limits the bytes of all histories: 256 MiB by default. Where there would be
    /// more, the room that was used least recently is forgotten and begins a new epoch.
    pub fn history_bytes_max(mut self, bytes: usize) -> Self {
        self.history_bytes_max = bytes;
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
                tracing::error!(error = %escaped(&error), "the hub cannot run");
            }
        })?;
        Ok(RunningHub { stop, thread: Some(thread) })
    }

    fn run_until(self, stop: &Notify) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Hub { listener, file, node_bytes_max, history_bytes_max } = self;
        let result = runtime.block_on(async {
            let listener = UnixListener::from_std(listener)?;
            let nodes = Nodes::new(node_bytes_max, history_bytes_max);
            tokio::select! {
                () = nodes.accept(&listener) => {}
                () = stop.notified() => {}
            }
            Ok(())
        });
        drop(file);
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
