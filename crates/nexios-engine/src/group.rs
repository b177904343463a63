//! Groups: the sets of connections that a broadcast reaches.

use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nexios_protocol::{OpCode, write_frame};
use parking_lot::Mutex;

use crate::id::ConnectionId;
use crate::message::Message;
use crate::variant::Variant;

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
    /// Another form of the message, and the variant whose connections get that one.
    form: Option<(Variant, Box<Broadcast>)>,
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
            form: None,
            frame: OnceLock::new(),
            deflated: Mutex::new(Vec::new()),
        }
    }

    /// Gives the connections of a variant another message in the place of this one, with the key and the word on
    /// compression that it has by now.
    pub fn set_form(&mut self, variant: Variant, message: Message) {
        let mut form = Broadcast::new(self.audience.clone(), message);
        (form.key, form.compress) = (self.key.clone(), self.compress);
        self.form = Some((variant, Box::new(form)));
    }

    /// Returns true if connections of all variants get the same message.
    pub(crate) fn has_one_form(&self) -> bool {
        self.form.is_none()
    }

    /// Returns the broadcast as connections of a variant get it.
    pub(crate) fn form_for(&self, variant: Variant) -> &Broadcast {
        match &self.form {
            Some((other, form)) if *other == variant => form,
            _ => self,
        }
    }

    /// Returns the bytes of all its forms.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len() + self.form.as_ref().map_or(0, |(_, form)| form.message.len())
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
