//! A connection and its state, in parts.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use nexios_protocol::RequestHead;

use super::busy::{Busy, Rare};
use super::clock::Clock;
use super::ending::{CloseInfo, Ending};
use super::keepalive::Keepalive;
use super::peer::Peer;
use super::phase::Phase;
use super::read_side::ReadSide;
use super::task_slot::{TaskMarks, TaskSlot};
use super::write_side::{Deflate, WriteSide};
use crate::group::Group;
use crate::id::{ConnectionId, Secret};
use crate::inbox::Inbox;
use crate::membership::Membership;
use crate::outbox::Outbox;
use crate::route_profile::Profile;
use crate::settings::Settings;
use crate::shard::{Shard, ShardInner};
use crate::stream::Stream;
use crate::variant::Variant;

/// A handle to one connection; cheap to clone, stays on its shard's thread.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<nexios_engine::Connection>(); // take `connection.remote()` to another thread
/// ```
#[derive(Clone)]
pub struct Connection(pub(crate) Rc<Inner>);

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionState {
    /// The handshake is not answered yet.
    Connecting,
    /// Messages flow.
    Connected,
    /// One side has sent a Close frame.
    Closing,
    /// Over.
    Disconnected,
}

pub(crate) struct Inner {
    pub(crate) shard: Rc<ShardInner>,
    token: u32,
    secret: Secret,
    pub(super) profile: OnceCell<Arc<Profile>>,
    /// The front end's.
    marks: Cell<u8>,
    pub(super) variant: Cell<Variant>,
    pub(crate) state: RefCell<State>,
    pub(crate) membership: Membership,
}

pub(crate) struct State {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    pub(crate) clock: Clock,
    pub(super) head: Option<Rc<RequestHead>>,
    pub(crate) busy: Option<Box<Busy>>,
    pub(super) task: TaskSlot,
    pub(crate) task_marks: TaskMarks,
    pub(crate) read: ReadSide,
    pub(crate) write: WriteSide,
    pub(crate) ending: Ending,
    pub(super) keepalive: Keepalive,
    pub(crate) peer: Peer,
}

impl Connection {
    /// Its id, not guessable, unique for ever.
    pub fn id(&self) -> ConnectionId {
        self.0.id()
    }

    /// Where it is in its life.
    pub fn state(&self) -> ConnectionState {
        self.0.state.borrow().connection_state()
    }

    /// The shard that it lives on.
    pub fn shard(&self) -> Shard {
        Shard(self.0.shard.clone())
    }

    /// The request head; `None` once the `keep_head` setting has dropped it.
    pub fn head(&self) -> Option<Rc<RequestHead>> {
        self.0.state.borrow().head.clone()
    }

    /// The peer's address; `None` on a Unix socket or in memory.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer()
    }

    /// Whether TLS ends here.
    pub fn is_tls(&self) -> bool {
        self.0.state.borrow().stream.is_tls()
    }

    /// What holds for this connection: its route's settings, before that the server's.
    pub fn settings(&self) -> &Settings {
        self.0.settings()
    }

    /// Its route's profile.
    pub fn profile(&self) -> Option<&Arc<Profile>> {
        self.0.profile.get()
    }

    /// Sets its route's profile; the first call wins.
    pub fn set_profile(&self, profile: Arc<Profile>) {
        // A second route for one connection does not exist.
        let _ = self.0.profile.set(profile);
    }

    /// What the front end has noted; nothing at first.
    pub fn marks(&self) -> u8 {
        self.0.marks.get()
    }

    /// Notes something for the front end.
    pub fn set_marks(&self, marks: u8) {
        self.0.marks.set(marks);
    }

    /// What the front end keeps for this connection.
    pub fn extension(&self) -> Option<Rc<dyn Any>> {
        self.0.state.borrow().busy.as_ref()?.extension.clone()
    }

    /// Returns the variant that it was accepted with; the plain one before.
    pub fn variant(&self) -> Variant {
        self.0.variant.get()
    }

    /// Keeps something for the front end, as long as there are handles to the connection.
    pub fn set_extension(&self, extension: Rc<dyn Any>) {
        let before = self.0.state.borrow_mut().busy().extension.replace(extension);
        drop(before);
    }

    /// How it ended, or is ending; `None` while it is open.
    pub fn close_info(&self) -> Option<CloseInfo> {
        self.0.state.borrow().close_info().cloned()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.0.id()).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(shard: Rc<ShardInner>, token: u32, stream: Stream, clock: Clock, counted: bool) -> Self {
        Inner {
            shard,
            token,
            secret: Secret::random(),
            profile: OnceCell::new(),
            marks: Cell::new(0),
            variant: Cell::default(),
            state: RefCell::new(State::new(stream, clock, counted)),
            membership: Membership::default(),
        }
    }

    /// Its slot on the shard.
    pub(crate) fn token(&self) -> u32 {
        self.token
    }

    pub(crate) fn id(&self) -> ConnectionId {
        ConnectionId::new(self.secret, self.token, self.shard.index)
    }

    /// Tells it from others that have had the same slot.
    pub(super) fn serial(&self) -> u32 {
        self.secret.serial()
    }

    pub(crate) fn variant(&self) -> Variant {
        self.variant.get()
    }

    /// The group that it joins when it is accepted.
    pub(crate) fn router(&self) -> Option<&Group> {
        self.profile.get()?.group.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.profile.get().map_or(&self.shard.shared.settings.connection, |profile| &profile.settings)
    }
}

impl State {
    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.busy().rare.get_or_insert_default()
    }

    pub(super) fn has_rare(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.rare.is_some())
    }

    pub(super) fn rare_if_any(&mut self) -> Option<&mut Rare> {
        self.busy.as_mut()?.rare.as_deref_mut()
    }

    /// Messages wait in it; without any there is none.
    pub(super) fn inbox(&self) -> Option<&Inbox> {
        self.busy.as_ref()?.inbox.as_deref()
    }

    pub(super) fn inbox_mut(&mut self) -> Option<&mut Inbox> {
        self.busy.as_mut()?.inbox.as_deref_mut()
    }

    /// Output waits in it; without any there is none.
    pub(crate) fn outbox(&self) -> Option<&Outbox> {
        self.busy.as_ref()?.outbox.as_deref()
    }

    pub(super) fn outbox_mut(&mut self) -> Option<&mut Outbox> {
        self.busy.as_mut()?.outbox.as_deref_mut()
    }

    pub(crate) fn outbox_len(&self) -> usize {
        self.outbox().map_or(0, Outbox::len)
    }

    pub(super) fn close_info(&self) -> Option<&CloseInfo> {
        self.busy.as_ref()?.close.as_deref()
    }
}

impl State {
    fn new(stream: Stream, clock: Clock, counted: bool) -> Self {
        State {
            stream,
            phase: Phase::Head(Box::default()),
            clock,
            head: None,
            busy: None,
            task: TaskSlot::default(),
            task_marks: TaskMarks::default(),
            read: ReadSide::default(),
            write: WriteSide::default(),
            ending: Ending::default(),
            keepalive: Keepalive::default(),
            peer: Peer::new(counted),
        }
    }

    pub(crate) fn connection_state(&self) -> ConnectionState {
        match &self.phase {
            _ if self.ending.is_finished() => ConnectionState::Disconnected,
            Phase::Head(_) | Phase::Http(_) | Phase::Connecting(_) => ConnectionState::Connecting,
            Phase::Open(_) if self.ending.is_open() => ConnectionState::Connected,
            Phase::Open(_) => ConnectionState::Closing,
            Phase::Lingering | Phase::Gone => ConnectionState::Disconnected,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) && self.ending.is_open()
    }

    /// Returns how messages are compressed; `None` while they are not.
    pub(crate) fn deflate(&self) -> Option<Deflate> {
        self.write.deflate().filter(|_| matches!(self.phase, Phase::Open(_)))
    }

    /// No frames any more, neither in nor out.
    pub(super) fn end_frames(&mut self, phase: Phase) {
        self.phase = phase;
        if let Some(rare) = self.rare_if_any() {
            rare.deflater = None;
            rare.unread = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    /// What every idle connection pays for. Whoever has to raise a figure: `bench/README.md` says
    /// how to measure what it costs.
    #[test]
    fn an_idle_connection_stays_small() {
        // In debug builds mio notes in each socket which poller it belongs to.
        let debug = if cfg!(debug_assertions) { 8 } else { 0 };
        assert!(size_of::<Stream>() <= 16 + debug);
        assert!(size_of::<nexios_protocol::Connection>() <= 16);
        assert!(size_of::<Phase>() <= 16);
        assert!(size_of::<(ReadSide, WriteSide, TaskMarks, Ending, Keepalive, Peer)>() <= 16);
        assert!(size_of::<State>() <= 88 + debug);
        assert!(size_of::<Membership>() <= 8);
        assert!(size_of::<Inner>() <= 136 + debug);
    }
}
