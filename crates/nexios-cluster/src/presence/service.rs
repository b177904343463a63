//! The way from handlers, and from the broker's thread, to what is known; and to the listeners.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexios_engine::{ConnectionId, Message};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::changes::{Changes, Reader};
use super::replica::{Command, Replica, Settings};
use super::wire::Announcement;
use super::{BYTES_MAX, Change, PresenceError, PresenceEvent, Present};
use crate::envelope::{Envelope, Kind, NodeId, Options, Unreadable};
use crate::node::Node;
use crate::topic::Topic;

/// Events that wait for slow listeners at most; then the oldest are left out.
const EVENTS_MAX: usize = 65_536;
const TTL: Duration = Duration::from_secs(30);

/// One for each app, with or without a broker.
pub struct Presence {
    state: Mutex<State>,
    changed: Notify,
    /// Turns true when the app ends: nobody stays any longer.
    closing: watch::Sender<bool>,
    listened: Listened,
    /// Runs the listeners somewhere.
    report: Box<dyn Fn(PresenceEvents) + Send + Sync>,
}

struct State {
    replica: Replica,
    /// Those who follow a room.
    followers: HashMap<Arc<str>, Followed>,
    /// Events that listeners have not received yet.
    unreported: VecDeque<PresenceEvent>,
    is_reporting: bool,
}

/// A room that somebody follows.
#[derive(Default)]
struct Followed {
    changes: Changes,
    /// What clients are told of all who are there; `None` since the last change.
    answer: Option<Message>,
}

/// The kinds of events that an app has listeners for.
#[derive(Clone, Copy, Default)]
pub struct Listened {
    /// True if there are listeners for users who come into a room.
    pub join: bool,
    /// True if there are listeners for users who leave one.
    pub leave: bool,
}

/// Follows a room's changes; as long as it is there the room is looked after.
pub struct Following {
    presence: Arc<Presence>,
    room: Arc<str>,
    /// In order; one who is too slow is told that there were more, and looks at the whole.
    pub changes: Reader,
}

impl Presence {
    /// Returns the presence of an app. `report` runs the listeners, if the app listens for an event.
    pub fn new(listened: Listened, report: impl Fn(PresenceEvents) + Send + Sync + 'static) -> Arc<Self> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = (Instant::now(), u64::try_from(since_1970.as_millis()).unwrap_or(0));
        let settings = Settings { ttl: TTL, bytes_max: BYTES_MAX };
        let replica = Replica::new(NodeId::random(), settings, fastrand::Rng::new(), clock);
        let state = State { replica, followers: HashMap::new(), unreported: VecDeque::new(), is_reporting: false };
        let (closing, _) = watch::channel(false);
        let (state, changed, report) = (Mutex::new(state), Notify::new(), Box::new(report));
        Arc::new(Presence { state, changed, closing, listened, report })
    }

    // --- handlers

    /// Shows a connection's user in a room, with data.
    ///
    /// # Errors
    /// [`PresenceError`]
    pub fn track(
        self: &Arc<Self>,
        room: &str,
        connection: ConnectionId,
        user: &str,
        data: &Arc<str>,
    ) -> Result<(), PresenceError> {
        self.with(|replica, now| replica.track(room, connection, user, data, now))
    }

    /// Shows a connection in a room no longer. Returns true if it was shown.
    pub fn untrack(self: &Arc<Self>, room: &str, connection: ConnectionId) -> bool {
        self.with(|replica, now| replica.untrack(room, connection, now))
    }

    /// A connection is gone, and its user stays until [`Self::untrack_later`] is over, or comes back before.
    pub fn depart(&self, rooms: &[Arc<str>], connection: ConnectionId) {
        let replica = &mut self.state.lock().replica;
        rooms.iter().for_each(|room| replica.depart(room, connection));
    }

    /// Ends the stay of a connection that is gone, once its time is over or the app ends.
    pub async fn untrack_later(
        self: &Arc<Self>,
        rooms: &[Arc<str>],
        connection: ConnectionId,
        over: impl Future<Output = ()>,
    ) {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = over => {}
            // An error says that the sender, which is in `self`, is gone.
            _ = closing.wait_for(|closing| *closing) => {}
        }
        for room in rooms {
            self.untrack(room, connection);
        }
    }

    /// Lets those go who are still there only because of a delay.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// All who are in a room, as far as it is known within a quarter of a second.
    pub async fn list(self: &Arc<Self>, room: &str) -> Vec<Present> {
        self.look(room).await;
        self.state.lock().replica.list(room)
    }

    /// How many users are in a room.
    pub async fn count(self: &Arc<Self>, room: &str) -> usize {
        self.look(room).await;
        self.state.lock().replica.count(room)
    }

    async fn look(self: &Arc<Self>, room: &str) {
        let waiting: Option<oneshot::Receiver<()>> = self.with(|replica, now| replica.look(room, now));
        if let Some(waiting) = waiting {
            // An error says that nobody will say more.
            let _ = waiting.await;
        }
    }

    /// Follows a room: [`Following::changes`] has what changes in what [`Self::list`] says.
    pub fn follow(self: &Arc<Self>, room: &str) -> Following {
        let room: Arc<str> = room.into();
        let changes = {
            let mut state = self.state.lock();
            state.followers.entry(room.clone()).or_default().changes.reader()
        };
        self.with(|replica, now| replica.watch(&room, now));
        Following { presence: self.clone(), room, changes }
    }

    // --- the broker's thread

    pub(crate) fn attach(self: &Arc<Self>, node: NodeId, settings: Settings) {
        self.with(|replica, now| {
            replica.settings = settings;
            replica.attach(node, now);
        });
    }

    pub(crate) fn detach(self: &Arc<Self>) {
        self.with(|replica, _| replica.detach());
    }

    pub(crate) fn connected(self: &Arc<Self>) {
        self.with(Replica::connected);
    }

    pub(crate) fn disconnected(self: &Arc<Self>) {
        self.with(|replica, _| replica.disconnected());
    }

    pub(crate) fn overflowed(self: &Arc<Self>) {
        self.with(Replica::overflowed);
    }

    pub(crate) fn needs(&self, topic: &Topic) -> bool {
        self.state.lock().replica.needs(topic)
    }

    pub(crate) fn receive(self: &Arc<Self>, envelope: &Envelope<'_>) -> Result<(), Unreadable> {
        let announcement = Announcement::decode(envelope.message.as_bytes())?;
        self.with(|replica, now| replica.receive(envelope.node, &envelope.topic, announcement, now));
        Ok(())
    }

    /// Tells other nodes that this one ends.
    pub fn leave(&self, node: &Node) {
        let announcement = self.state.lock().replica.farewell();
        if let Some(announcement) = announcement {
            publish(node, &Topic::Nodes, &announcement);
        }
    }

    /// Changes what is known, and sees to it that whoever is concerned hears of it.
    fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut Replica, Instant) -> R) -> R {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let due = state.replica.due();
        let result = act(&mut state.replica, Instant::now());
        let events = state.replica.events();
        state.pass_on(events, self.listened);
        let is_due_sooner = match (state.replica.due(), due) {
            (Some(now), Some(before)) => now < before,
            (now, before) => now.is_some() && before.is_none(),
        };
        if is_due_sooner || state.replica.has_commands() {
            self.changed.notify_one();
        }
        let starts = !state.unreported.is_empty() && !std::mem::replace(&mut state.is_reporting, true);
        // Events that are dropped take the lock.
        drop(guard);
        if starts {
            (self.report)(PresenceEvents { presence: self.clone(), is_over: false });
        }
        result
    }
}

impl State {
    fn pass_on(&mut self, events: Vec<(Change, PresenceEvent)>, listened: Listened) {
        for (change, event) in events {
            if let Some(followed) = self.followers.get_mut(&event.room) {
                followed.answer = None;
                followed.changes.add((change, event.clone()));
            }
            let has_listeners = match change {
                Change::Join => listened.join,
                Change::Update => false,
                Change::Leave => listened.leave,
            };
            if !has_listeners {
                continue;
            }
            if self.unreported.len() >= EVENTS_MAX {
                tracing::warn!("presence listeners are too slow: an event was left out");
                self.unreported.pop_front();
            }
            self.unreported.push_back(event);
        }
    }
}

/// Events that listeners have not received yet, in order. One value at a time hands them out.
pub struct PresenceEvents {
    presence: Arc<Presence>,
    is_over: bool,
}

impl Iterator for PresenceEvents {
    type Item = PresenceEvent;

    fn next(&mut self) -> Option<PresenceEvent> {
        let mut state = self.presence.state.lock();
        let next = state.unreported.pop_front();
        (state.is_reporting, self.is_over) = (next.is_some(), next.is_none());
        next
    }
}

impl Drop for PresenceEvents {
    fn drop(&mut self) {
        // Its task was cancelled, or could not begin: another value continues.
        if !self.is_over {
            self.presence.state.lock().is_reporting = false;
        }
    }
}

impl Following {
    /// Returns all who are there as clients are told of them. It is written once until something changes.
    pub async fn answer(&self, write: impl FnOnce(Vec<Present>) -> Message) -> Message {
        self.presence.look(&self.room).await;
        let mut state = self.presence.state.lock();
        if let Some(answer) = state.followers.get(&self.room).and_then(|followed| followed.answer.clone()) {
            return answer;
        }
        let answer = write(state.replica.list(&self.room));
        if let Some(followed) = state.followers.get_mut(&self.room) {
            followed.answer = Some(answer.clone());
        }
        answer
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.presence.with(|replica, now| replica.unwatch(&self.room, now));
        let mut state = self.presence.state.lock();
        // The receiver of this one is still there.
        if state.followers.get(&self.room).is_some_and(|followed| followed.changes.readers() <= 1) {
            state.followers.remove(&self.room);
        }
    }
}

/// Does what is due, for as long as the node's thread runs.
pub(crate) async fn drive(node: Arc<Node>, presence: Arc<Presence>) {
    loop {
        let commands = presence.with(Replica::poll);
        for command in commands {
            match command {
                Command::Enter(topic) => enter(&node, &presence, topic),
                Command::Leave(topic) => node.subscriptions.left(&topic, Instant::now()),
                Command::Publish(topic, announcement) => publish(&node, &topic, &announcement),
            }
        }
        let due = presence.state.lock().replica.due();
        let timer = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = presence.changed.notified() => {}
            () = timer => {}
        }
    }
}

fn enter(node: &Node, presence: &Arc<Presence>, topic: Topic) {
    let entering = node.enter([&topic].into_iter());
    let presence = presence.clone();
    tokio::spawn(async move {
        if let Some(entering) = entering {
            entering.done().await;
        }
        presence.with(|replica, now| replica.entered(&topic, now));
    });
}

fn publish(node: &Node, topic: &Topic, announcement: &Announcement) {
    let message = Message::from(announcement.encode());
    // What finds no room is missed, and that is noticed where it is.
    node.publish(Kind::Presence, topic, &message, &Options::default(), None);
}

#[cfg(test)]
mod tests {
    use super::super::changes::Lagged;
    use super::*;

    fn connection(n: u8) -> ConnectionId {
        format!("{n:032x}").parse().unwrap()
    }

    fn presence() -> Arc<Presence> {
        Presence::new(Listened::default(), |_| {})
    }

    #[test]
    fn who_follows_a_room_hears_every_change_in_order_and_of_no_other_room() {
        let presence = presence();
        let track = |room, n, user, data: &str| presence.track(room, connection(n), user, &data.into()).unwrap();
        track("x", 1, "ann", "1");
        let mut following = presence.follow("x");
        track("y", 2, "bob", "1");
        track("x", 1, "ann", "2");
        assert!(presence.untrack("x", connection(1)));
        let mut next = || following.changes.try_recv().unwrap().map(|(change, event)| (change, event.data.to_string()));
        assert_eq!(next(), Some((Change::Update, "2".to_owned())));
        assert_eq!(next(), Some((Change::Leave, "2".to_owned())));
        assert_eq!(next(), None);
        drop(following);
        assert!(presence.state.lock().followers.is_empty());
        assert!(!presence.needs(&Topic::Presence("x".into())) && presence.needs(&Topic::Presence("y".into())));
    }

    #[test]
    fn one_who_is_too_slow_is_told_that_there_was_more() {
        let presence = presence();
        let mut following = presence.follow("x");
        for n in 0..2048 {
            presence.track("x", connection(1), "ann", &n.to_string().into()).unwrap();
        }
        assert!(matches!(following.changes.try_recv(), Err(Lagged)));
    }

    #[tokio::test]
    async fn an_answer_is_written_once_until_something_changes() {
        let presence = presence();
        let track = |n, user, data: &str| presence.track("x", connection(n), user, &data.into()).unwrap();
        track(1, "ann", "1");
        let followings = [presence.follow("x"), presence.follow("x")];
        let written = std::cell::Cell::new(0);
        let answer = async |which: usize| {
            let write = |present: Vec<Present>| {
                written.set(written.get() + 1);
                let texts: Vec<_> =
                    present.iter().map(|present| format!("{} {}", present.user, present.data)).collect();
                Message::from(texts.join(","))
            };
            followings[which].answer(write).await.as_text().unwrap().to_owned()
        };
        for which in [0, 1, 0] {
            assert_eq!((answer(which).await, written.get()), ("ann 1".to_owned(), 1));
        }
        track(1, "ann", "2");
        assert_eq!((answer(1).await, written.get()), ("ann 2".to_owned(), 2));
        track(2, "bob", "1");
        assert_eq!((answer(0).await, written.get()), ("ann 2,bob 1".to_owned(), 3));
        presence.untrack("x", connection(1));
        assert_eq!((answer(0).await, written.get()), ("bob 1".to_owned(), 4));
        assert_eq!((answer(1).await, written.get()), ("bob 1".to_owned(), 4));
    }
}
