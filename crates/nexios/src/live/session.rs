//! What a framed connection has besides a plain one.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use nexios_engine::{KeptBytes, Message};

use super::frame::{ClientFrame, Id};
use super::resume::Resume;
use crate::broker::Position;
use crate::connection::membership::Wish;

/// How many frames of a client may wait for their answers.
pub(crate) const UNANSWERED_MAX: usize = 256;
/// How many rooms a `hello` may name, and in how many a client may be when it asks for another.
pub(crate) const ROOMS_MAX: usize = 1000;

/// Kept from `hello` to the end of the connection. It does not hold the connection, which holds it.
#[derive(Default)]
pub(crate) struct LiveSession {
    /// Where the client was in rooms that it has not come back to.
    positions: RefCell<HashMap<Arc<str>, Position>>,
    unanswered: Cell<usize>,
    /// Bytes of their payloads.
    unanswered_bytes: Cell<usize>,
    /// Waits until fewer bytes are unanswered: what takes frames in.
    waiting: Cell<Option<Waker>>,
    /// Until then joins and publishes wait for the handler, unless it has received before.
    pub(crate) fresh_until: Cell<Option<Instant>>,
    /// The joins that follow `hello`.
    pub(crate) resume: Resume,
    /// What the client has asked of each room and has yet to be done, one after another.
    lines: RefCell<HashMap<Arc<str>, VecDeque<Step>>>,
}

/// Something to be done in a room for the client.
pub(crate) struct Step {
    pub(crate) place: Place,
    /// Of a join.
    pub(crate) wish: Wish,
    pub(crate) frame: ClientFrame,
    pub(crate) payload: Message,
}

/// The place of a frame among the unanswered; given back when it is dropped.
pub(crate) struct Place {
    session: Rc<LiveSession>,
    pub(crate) id: Id,
    bytes: usize,
    /// Its share of what the process keeps of all clients.
    _kept: Option<KeptBytes>,
}

impl Place {
    /// Takes a place for a frame, if there is one.
    pub(crate) fn take(session: &Rc<LiveSession>, id: Id, bytes: usize) -> Option<Self> {
        let unanswered = session.unanswered.get();
        if unanswered >= UNANSWERED_MAX {
            return None;
        }
        session.unanswered.set(unanswered + 1);
        session.unanswered_bytes.update(|waiting| waiting + bytes);
        Some(Place { session: session.clone(), id, bytes, _kept: None })
    }

    /// Counts its payload with the bytes that wait in the whole process.
    pub(crate) fn keeping(mut self, kept: KeptBytes) -> Self {
        self._kept = Some(kept);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.unanswered.update(|waiting| waiting - 1);
        self.session.unanswered_bytes.update(|waiting| waiting - self.bytes);
        if let Some(waker) = self.session.waiting.take() {
            waker.wake();
        }
    }
}

impl LiveSession {
    pub(crate) fn new(rooms: HashMap<String, String>) -> Self {
        let session = LiveSession::default();
        for (room, position) in rooms.into_iter().take(ROOMS_MAX) {
            session.note_position(&room.into(), &position);
        }
        session
    }

    /// Where the client was in a room; what is no position is as good as none.
    pub(crate) fn note_position(&self, room: &Arc<str>, position: &str) {
        let mut positions = self.positions.borrow_mut();
        match position.parse() {
            Ok(position) if positions.len() < ROOMS_MAX || positions.contains_key(room) => {
                positions.insert(room.clone(), position);
            }
            _ => {}
        }
    }

    /// Where the client was in a room, for the one time that it comes back to it.
    pub(crate) fn take_position(&self, room: &str) -> Option<Position> {
        self.positions.borrow_mut().remove(room)
    }

    /// Pending while a payload of so many bytes would bring the unanswered ones over the limit. One always fits.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, bytes: usize, bytes_max: usize) -> Poll<()> {
        let waiting = self.unanswered_bytes.get();
        if waiting == 0 || waiting.saturating_add(bytes) <= bytes_max {
            return Poll::Ready(());
        }
        self.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Forgets what has yet to be done: the connection is gone.
    pub(crate) fn end(&self) {
        // Each step holds the session.
        drop(self.lines.take());
    }

    /// Puts a step into a room's line; says whether somebody has to begin with the line.
    pub(crate) fn enqueue(&self, room: &Arc<str>, step: Step) -> bool {
        let mut lines = self.lines.borrow_mut();
        let idle = !lines.contains_key(room);
        lines.entry(room.clone()).or_default().push_back(step);
        idle
    }

    /// The next step in a room; `None`: the line is at its end.
    pub(crate) fn next_step(&self, room: &str) -> Option<Step> {
        let mut lines = self.lines.borrow_mut();
        let step = lines.get_mut(room).and_then(VecDeque::pop_front);
        if step.is_none() {
            lines.remove(room);
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_names_rooms_within_its_limit_and_positions_only() {
        let position = format!("1-2-{:032}", 3);
        let rooms = (0..ROOMS_MAX + 5).map(|n| (n.to_string(), position.clone())).collect();
        assert_eq!(LiveSession::new(rooms).positions.borrow().len(), ROOMS_MAX);
        let session = LiveSession::new(HashMap::from([("a".into(), position), ("b".into(), "1-2-3".into())]));
        assert_eq!(session.positions.borrow().keys().map(|room| &**room).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn so_many_wait_for_answers_at_most() {
        let session = Rc::new(LiveSession::default());
        let take = |bytes| Place::take(&session, Id(1), bytes);
        let mut places: Vec<_> = (0..UNANSWERED_MAX).map(|_| take(0)).collect();
        assert!(places.iter().all(Option::is_some) && take(0).is_none());
        places.pop();
        assert!(take(0).is_some());
    }

    #[test]
    fn so_many_bytes_wait_for_answers_at_most_and_one_payload_always_fits() {
        let session = Rc::new(LiveSession::default());
        let is_free = |bytes| session.poll_room(&Context::from_waker(Waker::noop()), bytes, 100).is_ready();
        assert!(is_free(1000));
        let large = Place::take(&session, Id(1), 1000);
        assert!(!is_free(1) && !is_free(0));
        drop(large);
        let small = Place::take(&session, Id(1), 60);
        assert!(is_free(40) && !is_free(41));
        drop(small);
        assert_eq!((session.unanswered.get(), session.unanswered_bytes.get()), (0, 0));
    }

    #[test]
    fn what_was_never_done_does_not_outlive_the_connection() {
        let session = Rc::new(LiveSession::default());
        let place = Place::take(&session, Id(1), 5).unwrap();
        let room = Arc::<str>::from("x");
        session.enqueue(
            &room,
            Step { place, wish: Wish::default(), frame: ClientFrame::Ping { id: Id(1) }, payload: "".into() },
        );
        session.end();
        assert_eq!((Rc::strong_count(&session), session.unanswered.get()), (1, 0));
    }

    #[test]
    fn a_line_is_begun_once_and_forgotten_at_its_end() {
        let (session, room) = (Rc::new(LiveSession::default()), Arc::<str>::from("x"));
        let step = |id| Step {
            place: Place::take(&session, Id(id), 0).unwrap(),
            wish: Wish::default(),
            frame: ClientFrame::Leave { id: Id(id), room: room.clone() },
            payload: "".into(),
        };
        assert!(session.enqueue(&room, step(1)));
        assert!(!session.enqueue(&room, step(2)));
        assert_eq!(session.next_step("x").map(|step| step.place.id), Some(Id(1)));
        assert_eq!(session.next_step("x").map(|step| step.place.id), Some(Id(2)));
        assert!(!session.enqueue(&room, step(3)), "somebody is at it still");
        assert!(session.next_step("x").is_some() && session.next_step("x").is_none());
        assert!(session.lines.borrow().is_empty());
    }
}
