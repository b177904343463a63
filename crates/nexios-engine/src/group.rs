//! Groups: the sets of connections that a broadcast reaches.

use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nexios_protocol::{OpCode, write_frame};
use parking_lot::Mutex;

use crate::framing;
use crate::id::ConnectionId;
use crate::message::Message;

/// A set of connections over all shards of the process; a router or a room.
///
/// ```
/// use nexios_engine::Group;
/// let lobby = Group::new(7);
/// assert_eq!(lobby.members(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Group(Arc<GroupShared>);

#[derive(Debug)]
struct GroupShared {
    id: u32,
    members: AtomicUsize,
    over_mark: AtomicUsize,
}

/// The groups that a broadcast goes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every group with an id in the range: routers are numbered so that a subtree is one.
    Range(Range<u32>),
    /// One group.
    One(u32),
}

/// A message on its way to an audience; encoded once and compressed once for all shards.
#[derive(Debug)]
pub struct Broadcast {
    /// Who gets it.
    pub audience: Audience,
    /// What they get.
    pub message: Message,
    /// Who does not.
    pub exclude: Vec<ConnectionId>,
    /// Under [`SlowClient::Conflate`](crate::SlowClient::Conflate): a newer broadcast of the same key replaces this one.
    pub key: Option<Arc<str>>,
    /// `Some(false)` leaves this message uncompressed.
    pub compress: Option<bool>,
    /// The message is a frame of a subprotocol: see [`Accept::framed`](crate::Accept::framed).
    pub framed: bool,
    /// The same for another audience, in another form: published in one step with this.
    pub also: Option<Arc<Broadcast>>,
    /// What framed connections get of a message that they would take for a frame.
    escaped: OnceLock<Arc<Broadcast>>,
    frame: OnceLock<Bytes>,
    /// One compressed frame for each (window bits, level) in use.
    deflated: Mutex<Vec<((u8, u8), Bytes)>>,
}

/// Broadcasts that a slow client did not get, as they are reported to the service.
#[derive(Debug)]
pub struct Dropped {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

impl Group {
    /// A group without members. Ids are the caller's: one id, one group in a server.
    pub fn new(id: u32) -> Self {
        Group(Arc::new(GroupShared { id, members: AtomicUsize::new(0), over_mark: AtomicUsize::new(0) }))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// How many connections are in it, on all shards.
    pub fn members(&self) -> usize {
        self.0.members.load(Ordering::Relaxed)
    }

    /// How many of them have an outbox above its mark.
    pub fn over_mark(&self) -> usize {
        self.0.over_mark.load(Ordering::Relaxed)
    }

    pub(crate) fn joined(&self) {
        self.0.members.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn rose_over_mark(&self) {
        self.0.over_mark.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fell_under_mark(&self) {
        self.0.over_mark.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Audience {
    /// Whether the group with this id is addressed.
    pub fn contains(&self, id: u32) -> bool {
        match self {
            Audience::Range(range) => range.contains(&id),
            Audience::One(one) => *one == id,
        }
    }
}

impl Broadcast {
    /// A message for everybody in the audience.
    pub fn new(audience: Audience, message: Message) -> Self {
        Broadcast {
            audience,
            message,
            exclude: Vec::new(),
            key: None,
            compress: None,
            framed: false,
            also: None,
            escaped: OnceLock::new(),
            frame: OnceLock::new(),
            deflated: Mutex::new(Vec::new()),
        }
    }

    /// Whether framed connections would take it for a frame that it is not.
    pub(crate) fn is_mistakable(&self) -> bool {
        !self.framed && framing::is_mistakable(self.message.as_ref())
    }

    /// The same behind an empty header.
    pub(crate) fn escaped(&self) -> &Broadcast {
        self.escaped.get_or_init(|| {
            let message = framing::escape(self.message.as_ref());
            let mut escaped = Broadcast::new(self.audience.clone(), message);
            (escaped.key, escaped.compress, escaped.framed) = (self.key.clone(), self.compress, true);
            Arc::new(escaped)
        })
    }

    /// The bytes of all its forms.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len() + self.also.as_ref().map_or(0, |also| also.message.len())
    }

    /// The frame as it goes to clients without compression.
    pub(crate) fn frame(&self) -> &Bytes {
        self.frame.get_or_init(|| self.encode(false, self.message.as_bytes()))
    }

    /// The frame for clients with these deflate settings; `compress` runs at most once for each.
    pub(crate) fn deflated(&self, settings: (u8, u8), compress: impl FnOnce(&[u8], &mut Vec<u8>)) -> Bytes {
        let mut frames = self.deflated.lock();
        if let Some((_, frame)) = frames.iter().find(|(key, _)| *key == settings) {
            return frame.clone();
        }
        let mut payload = Vec::new();
        compress(self.message.as_bytes(), &mut payload);
        let frame = self.encode(true, &payload);
        frames.push((settings, frame.clone()));
        frame
    }

    fn encode(&self, rsv1: bool, payload: &[u8]) -> Bytes {
        let opcode = match self.message {
            Message::Text(_) => OpCode::Text,
            Message::Binary(_) => OpCode::Binary,
        };
        let mut out = Vec::with_capacity(payload.len() + 10);
        write_frame(&mut out, opcode, true, rsv1, payload, None);
        out.into()
    }
}
