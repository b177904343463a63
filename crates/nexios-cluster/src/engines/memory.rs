//! A broker in memory: for several apps of one process, and for the rooms of one app that remember.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::engines::link::{Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Step};
use crate::engines::memory_log::MemoryLog;
use crate::history::log::{Append, Appended, Log, Nonce, Page, Position, Span};
use crate::node::incoming::Sink;

/// A broker in memory: apps of one process that were given the same one act as nodes.
///
/// ```
/// use nexios::{App, broker::Memory};
/// let memory = Memory::new();
/// let (one, other) = (App::new().broker(&memory), App::new().broker(&memory));
/// ```
#[derive(Clone, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    sessions: AtomicU64,
}

#[derive(Default)]
struct State {
    down: bool,
    sessions: HashMap<u64, Sink>,
    channels: HashMap<Arc<str>, Vec<u64>>,
    logs: MemoryLog,
}

impl Memory {
    /// A broker that nobody uses yet.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Goes away, for tests, as a broker does whose machine fails; [`start`](Self::start) brings it back with
    /// all that it kept.
    #[doc(hidden)]
    pub fn stop(&self) {
        let sessions = {
            let mut state = self.0.state.lock();
            state.down = true;
            state.channels.clear();
            std::mem::take(&mut state.sessions)
        };
        sessions.into_values().for_each(|sink| sink.lost("the broker in memory was stopped"));
    }

    /// Forgets what rooms store, as a broker does that comes back without its data: each begins
    /// another epoch.
    #[doc(hidden)]
    pub fn forget(&self) {
        self.0.state.lock().logs = MemoryLog::default();
    }

    /// Comes back: nodes connect again by themselves, and say that there is a gap.
    #[doc(hidden)]
    pub fn start(&self) {
        self.0.state.lock().down = false;
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("sessions", &self.0.state.lock().sessions.len()).finish_non_exhaustive()
    }
}

impl Engine for Memory {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>> {
        Box::pin(async {
            let id = self.0.sessions.fetch_add(1, Ordering::Relaxed);
            let mut state = self.0.state.lock();
            if state.down {
                return Err(LinkError::Lost("the broker in memory is stopped".to_owned()));
            }
            state.sessions.insert(id, sink);
            let session: Box<dyn BrokerSession> = Box::new(MemorySession { memory: self.clone(), id });
            Ok(session)
        })
    }
}

struct MemorySession {
    memory: Memory,
    id: u64,
}

impl MemorySession {
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> Result<R, LinkError> {
        let mut state = self.memory.0.state.lock();
        match state.sessions.contains_key(&self.id) {
            true => Ok(act(&mut state)),
            false => Err(LinkError::Lost("the broker in memory was stopped".to_owned())),
        }
    }
}

impl BrokerSession for MemorySession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        Box::pin(async move {
            self.with(|state| {
                for frame in batch {
                    for id in state.channels.get(&frame.channel).into_iter().flatten() {
                        if let Some(sink) = state.sessions.get(id) {
                            sink.envelope(frame.bytes.clone());
                        }
                    }
                }
                vec![Ok(()); batch.len()]
            })
        })
    }

    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        Box::pin(async move {
            self.with(|state| {
                let before = state.logs.find_again(batch);
                batch.iter().map(|append| state.append(append, &before)).collect()
            })
        })
    }

    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        Box::pin(async move { self.with(|state| state.logs.read(log, span)) })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { history: true, ..Capabilities::default() }
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(async move {
            self.with(|state| {
                for channel in channels {
                    state.channels.entry(channel.clone()).or_default().push(self.id);
                }
            })
        })
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(async move {
            self.with(|state| {
                for channel in channels {
                    if let Some(ids) = state.channels.get_mut(channel) {
                        ids.retain(|id| *id != self.id);
                    }
                }
                state.channels.retain(|_, ids| !ids.is_empty());
            })
        })
    }
}

impl State {
    fn append(&mut self, append: &Append, before: &HashMap<Nonce, Position>) -> Appended {
        let (appended, entry) = self.logs.append(append, before);
        let Some(entry) = entry else { return appended };
        for sink in self.channels.get(&append.log.channel).into_iter().flatten().filter_map(|id| self.sessions.get(id))
        {
            sink.entry(entry.clone());
        }
        appended
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        let mut state = self.memory.0.state.lock();
        state.sessions.remove(&self.id);
        state.channels.retain(|_, ids| {
            ids.retain(|id| *id != self.id);
            !ids.is_empty()
        });
    }
}
