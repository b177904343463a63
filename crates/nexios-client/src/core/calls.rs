//! Calls that wait for an answer: their limits, their order, and their fate when the connection is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::{Member, Published};
use crate::feed::BYTES_MAX;
use crate::frame::{FromServer, Limits};
use crate::message::Message;
use crate::position::Position;

/// Calls that wait at most, sent or not.
const CALLS_MAX: usize = 1000;
/// Calls that are sent and not answered at most, unless the server allows less.
const UNANSWERED_MAX: usize = 256;
/// The time for which a room with history knows the key of a message.
pub(crate) const KEY_TIME: Duration = Duration::from_secs(300);

/// Calls by number, in the order in which they were made.
pub(crate) struct Calls {
    calls: BTreeMap<u64, Call>,
    /// Those that are not sent on this connection: joins of a resume first.
    waiting: BTreeSet<(Lane, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those that count for the limit, and their bytes.
    count: usize,
    bytes: usize,
    unanswered: usize,
    last_id: u64,
    limits: Limits,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    Resume,
    Ordinary,
}

pub(crate) struct Call {
    pub(crate) purpose: Purpose,
    frame: Message,
    lane: Lane,
    deadline: Option<Instant>,
    is_sent: bool,
    /// On all connections.
    times_sent: u32,
}

/// The sending end of an answer, to the caller.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(crate) enum Purpose {
    Join {
        room: String,
    },
    Leave {
        room: String,
    },
    Publish {
        key: String,
        reply: Reply<Published>,
    },
    Request {
        reply: Reply<Message>,
    },
    Presence {
        room: String,
        reply: Reply<Vec<Member>>,
    },
    /// The users of a room after a reconnect.
    PresenceState {
        room: String,
    },
}

impl Calls {
    pub(crate) fn new() -> Self {
        let (calls, waiting, deadlines) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Calls { calls, waiting, deadlines, count: 0, bytes: 0, unanswered: 0, last_id: 0, limits: Limits::default() }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns the most rooms that the server lets the client into, as far as its welcome names the limit.
    pub(crate) fn rooms_max(&self) -> Option<u64> {
        self.limits.rooms
    }

    /// Returns an error if a message is larger than the server takes, as far as its welcome names the limit.
    pub(crate) fn check_size(&self, bytes: usize) -> Result<(), Error> {
        let Some(limit) = self.limits.message_bytes else { return Ok(()) };
        match (bytes as u64).checked_sub(limit) {
            None | Some(0) => Ok(()),
            Some(over) => {
                Err(Error::new("too_big", format!("the message is {over} bytes over the server's limit of {limit}")))
            }
        }
    }

    /// Adds a call, unless too many wait. Rooms' own calls have their limit in the number of rooms.
    pub(crate) fn add(
        &mut self,
        id: u64,
        purpose: Purpose,
        frame: Message,
        lane: Lane,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let call = Call { purpose, frame, lane, deadline, is_sent: false, times_sent: 0 };
        if !call.is_of_room() {
            self.check_size(call.frame.len()).and_then(|()| self.check_room()).map_err(|error| call.named(error))?;
            self.count += 1;
            self.bytes += call.frame.len();
        }
        self.deadlines.extend(deadline.map(|deadline| (deadline, id)));
        self.waiting.insert((lane, id));
        self.calls.insert(id, call);
        Ok(())
    }

    fn check_room(&self) -> Result<(), Error> {
        let count = self.count;
        if count >= CALLS_MAX || self.bytes > BYTES_MAX {
            return Err(Error::new(
                "busy",
                format!("{count} calls of {} bytes wait already: at most {CALLS_MAX}, {BYTES_MAX} bytes", self.bytes),
            ));
        }
        Ok(())
    }

    /// Returns the next frame to send; an oversized one fails, and the next is tried.
    pub(crate) fn next_frame(&mut self) -> Option<Message> {
        let limit = self.limits.unanswered.map_or(UNANSWERED_MAX, |limit| limit as usize).max(1);
        while self.unanswered < limit {
            let (_, id) = self.waiting.pop_first()?;
            let Some(call) = self.calls.get_mut(&id) else { continue };
            let (size, is_of_room) = (call.frame.len(), call.is_of_room());
            if !is_of_room && let Err(error) = self.check_size(size) {
                self.fail(id, error);
                continue;
            }
            let call = self.calls.get_mut(&id)?;
            call.is_sent = true;
            call.times_sent += 1;
            self.unanswered += 1;
            return Some(call.frame.clone());
        }
        None
    }

    pub(crate) fn is_sent(&self, id: u64) -> bool {
        self.calls.get(&id).is_some_and(|call| call.is_sent)
    }

    /// Removes a call: it is answered, or given up.
    pub(crate) fn take(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.waiting.remove(&(call.lane, id));
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.unanswered -= usize::from(call.is_sent);
        if !call.is_of_room() {
            self.count -= 1;
            self.bytes -= call.frame.len();
        }
        Some(call)
    }

    fn fail(&mut self, id: u64, error: Error) {
        if let Some(call) = self.take(id) {
            call.fail(error);
        }
    }

    fn fail_where(&mut self, is_failed: impl Fn(&Call) -> bool, error: &Error) {
        let failed: Vec<_> = self.calls.iter().filter(|(_, call)| is_failed(call)).map(|(id, _)| *id).collect();
        failed.into_iter().for_each(|id| self.fail(id, error.clone()));
    }

    /// Handles the end of the connection. Requests that were sent fail, rooms join again by themselves, publishes wait
    /// for the next connection.
    pub(crate) fn disconnected(&mut self) {
        let is_over = |call: &Call| call.is_of_room() || call.is_given_up() || (call.is_sent && !call.is_repeated());
        self.fail_where(is_over, &Error::disconnected());
        for (id, call) in &mut self.calls {
            call.is_sent = false;
            self.waiting.insert((call.lane, *id));
        }
        self.unanswered = 0;
        self.limits = Limits::default();
    }

    /// Fails the publishes that were sent: the server closed the connection because of what it received.
    pub(crate) fn rejected(&mut self, code: u16, reason: &str) {
        let message = format!("the server closed the connection with {code} {reason:?} before the answer");
        self.fail_where(|call| call.is_sent && call.is_repeated(), &Error::new("rejected", message));
    }

    pub(crate) fn closed(&mut self) {
        self.fail_where(|_| true, &Error::closed());
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Fails the calls whose time is up.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let is_publish = self.calls.get(&id).is_some_and(Call::is_repeated);
            let error = match is_publish {
                true => Error::new("expired", "no answer came within five minutes: a retry might store it twice"),
                false => Error::new("timeout", "no answer came in time"),
            };
            self.deadlines.pop_first();
            self.fail(id, error);
        }
    }

    /// Removes a call that was given up, unless it is sent.
    pub(crate) fn withdraw(&mut self, id: u64) {
        if !self.is_sent(id) {
            self.take(id);
        }
    }
}

impl Call {
    fn is_repeated(&self) -> bool {
        matches!(self.purpose, Purpose::Publish { .. })
    }

    fn is_of_room(&self) -> bool {
        matches!(self.purpose, Purpose::Join { .. } | Purpose::Leave { .. } | Purpose::PresenceState { .. })
    }

    fn is_given_up(&self) -> bool {
        match &self.purpose {
            Purpose::Publish { reply, .. } => reply.is_closed(),
            Purpose::Request { reply } => reply.is_closed(),
            Purpose::Presence { reply, .. } => reply.is_closed(),
            Purpose::Join { .. } | Purpose::Leave { .. } | Purpose::PresenceState { .. } => false,
        }
    }

    /// Puts the key on the error of a publish.
    fn named(&self, error: Error) -> Error {
        match &self.purpose {
            Purpose::Publish { key, .. } => error.with_key(key),
            _ => error,
        }
    }

    /// Fails for a reason of the client's own; a call that was sent may have been carried out.
    pub(crate) fn fail(self, error: Error) {
        let maybe_stored = self.times_sent > 0;
        self.settle(error.with_maybe_stored(maybe_stored));
    }

    /// Fails by the answer of the server, which covers the last attempt: an earlier one may have been carried out.
    pub(crate) fn refused(self, error: Error) {
        let maybe_stored = self.times_sent > 1 || error.maybe_stored();
        self.settle(error.with_maybe_stored(maybe_stored));
    }

    fn settle(self, error: Error) {
        let error = self.named(error);
        // The caller may have given up.
        match self.purpose {
            Purpose::Publish { reply, .. } => drop(reply.send(Err(error))),
            Purpose::Request { reply } => drop(reply.send(Err(error))),
            Purpose::Presence { reply, .. } => drop(reply.send(Err(error))),
            Purpose::Join { .. } | Purpose::Leave { .. } | Purpose::PresenceState { .. } => {}
        }
    }
}

/// An answer of the server to a call, apart from errors.
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) position: Option<Position>,
    pub(crate) is_duplicate: bool,
    pub(crate) payload: Message,
}

impl Answer {
    /// Reads an `ack` or a `reply`.
    pub(crate) fn of(frame: FromServer, payload: Message) -> Option<Answer> {
        match frame {
            FromServer::Ack { id, position, duplicate } => {
                Some(Answer { id, position, is_duplicate: duplicate, payload })
            }
            FromServer::Reply { id } => Some(Answer { id, position: None, is_duplicate: false, payload }),
            _ => None,
        }
    }
}
