//! What a node has clients for: subscribed to with the first of them, and for a while after the last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::topic::Topic;

/// How long a subscription outlives the last client, so that it does not flap.
const LINGER: Duration = Duration::from_secs(1);
/// How long somebody waits for a subscription at most; looked at every [`SWEEP_EVERY`].
const WAIT_MAX: Duration = Duration::from_millis(750);
/// The time from one look to the next.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Subscriptions {
    namespace: Arc<str>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    up: bool,
    topics: HashMap<Topic, Subscription>,
    /// The app, routers and nodes: few, and looked at in every sweep.
    routers: Vec<Topic>,
    /// Rooms that were empty when somebody looked.
    idle: Vec<Topic>,
    changes: Changes,
}

struct Subscription {
    channel: Arc<str>,
    live: bool,
    idle_since: Option<Instant>,
    waiting: Vec<(Instant, oneshot::Sender<()>)>,
    /// Clients that are on their way into the room.
    held: usize,
    /// Some of them were not to wait any longer.
    late: bool,
}

/// What a session has to be told.
#[derive(Default)]
pub(crate) struct Changes {
    /// First these.
    pub(crate) unsubscribe: Vec<Arc<str>>,
    pub(crate) subscribe: Vec<Topic>,
}

impl Subscriptions {
    pub(crate) fn new(namespace: Arc<str>) -> Self {
        Subscriptions { namespace, state: Mutex::default(), changed: Notify::new() }
    }

    /// A topic has a client. Where it is not subscribed to yet and the broker is there, this
    /// resolves once it is, or after a second.
    pub(crate) fn enter(&self, topic: &Topic, now: Instant) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let subscription = match state.topics.get_mut(topic) {
            Some(subscription) => subscription,
            None => {
                if !topic.is_of_room() {
                    state.routers.push(topic.clone());
                }
                state.changes.subscribe.push(topic.clone());
                self.changed.notify_one();
                let channel = topic.channel(&self.namespace);
                let new =
                    Subscription { channel, live: false, idle_since: None, waiting: Vec::new(), held: 0, late: false };
                state.topics.entry(topic.clone()).or_insert(new)
            }
        };
        subscription.idle_since = None;
        if subscription.live || !state.up {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        subscription.waiting.push((now, sender));
        Some(receiver)
    }

    /// [Enters](Self::enter) for a client that is on its way into a room, until it is
    /// [released](Self::release).
    pub(crate) fn hold(&self, room: &Topic, now: Instant) -> Option<oneshot::Receiver<()>> {
        let waiting = self.enter(room, now);
        if let Some(subscription) = self.state.lock().topics.get_mut(room) {
            subscription.held += 1;
        }
        waiting
    }

    /// It is in the room, or has given up.
    pub(crate) fn release(&self, room: &Topic, now: Instant) {
        if let Some(subscription) = self.state.lock().topics.get_mut(room) {
            subscription.held = subscription.held.saturating_sub(1);
        }
        self.left(room, now);
    }

    /// The last client of a room has left.
    pub(crate) fn left(&self, room: &Topic, now: Instant) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(subscription) = state.topics.get_mut(room)
            && subscription.idle_since.replace(now).is_none()
        {
            state.idle.push(room.clone());
        }
    }

    pub(crate) fn contains(&self, topic: &Topic) -> bool {
        self.state.lock().topics.contains_key(topic)
    }

    /// A session begins: all that it has to subscribe to.
    pub(crate) fn begin(&self) -> Vec<Topic> {
        let mut state = self.state.lock();
        state.changes = Changes::default();
        state.topics.keys().cloned().collect()
    }

    /// The session serves from now on.
    pub(crate) fn up(&self) {
        self.state.lock().up = true;
    }

    /// The session is lost: nobody waits for it.
    pub(crate) fn down(&self) {
        let mut state = self.state.lock();
        state.up = false;
        for subscription in state.topics.values_mut() {
            subscription.live = false;
            subscription.waiting.clear();
        }
    }

    /// What has changed, as soon as something has.
    pub(crate) async fn changes(&self) -> Changes {
        loop {
            let changes = std::mem::take(&mut self.state.lock().changes);
            if !changes.subscribe.is_empty() || !changes.unsubscribe.is_empty() {
                return changes;
            }
            self.changed.notified().await;
        }
    }

    /// The channels of these topics, as far as they are still wanted.
    pub(crate) fn channels(&self, topics: &[Topic]) -> Vec<Arc<str>> {
        let state = self.state.lock();
        topics.iter().filter_map(|topic| Some(state.topics.get(topic)?.channel.clone())).collect()
    }

    /// These are subscribed to; returns those for which somebody has waited in vain.
    pub(crate) fn live(&self, topics: &[Topic]) -> Vec<Topic> {
        let mut state = self.state.lock();
        let mut late = Vec::new();
        for topic in topics {
            if let Some(subscription) = state.topics.get_mut(topic) {
                subscription.live = true;
                if std::mem::take(&mut subscription.late) {
                    late.push(topic.clone());
                }
                for (_, waiting) in subscription.waiting.drain(..) {
                    // Nobody waits any more.
                    let _ = waiting.send(());
                }
            }
        }
        late
    }

    /// Releases those who have waited long enough, and ends subscriptions that have lingered.
    pub(crate) fn sweep(&self, now: Instant, has_clients: impl Fn(&Topic) -> bool) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for topic in &state.routers {
            if let Some(subscription) = state.topics.get_mut(topic) {
                match has_clients(topic) {
                    true => subscription.idle_since = None,
                    false => _ = subscription.idle_since.get_or_insert(now),
                }
            }
        }
        for subscription in state.topics.values_mut().filter(|subscription| !subscription.waiting.is_empty()) {
            let waiting = subscription.waiting.len();
            subscription.waiting.retain(|(since, _)| now.saturating_duration_since(*since) < WAIT_MAX);
            subscription.late |= subscription.waiting.len() < waiting;
        }
        let (topics, changes) = (&mut state.topics, &mut state.changes);
        let mut is_kept = |topic: &Topic, since_left: bool| {
            let Some(subscription) = topics.get_mut(topic) else { return false };
            if since_left && (subscription.held > 0 || has_clients(topic)) {
                subscription.idle_since = None;
            }
            let Some(since) = subscription.idle_since else { return !since_left };
            if now.saturating_duration_since(since) < LINGER {
                return true;
            }
            if let Some(ended) = topics.remove(topic) {
                changes.unsubscribe.push(ended.channel);
            }
            false
        };
        state.idle.retain(|room| is_kept(room, true));
        state.routers.retain(|router| is_kept(router, false));
        if !state.changes.unsubscribe.is_empty() {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        subscriptions: Subscriptions,
        start: Instant,
    }

    fn room() -> Topic {
        Topic::Room("x".into())
    }

    impl Fixture {
        fn up() -> Self {
            let fixture = Fixture { subscriptions: Subscriptions::new("n".into()), start: Instant::now() };
            fixture.subscriptions.up();
            fixture
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn changes(&self) -> (usize, usize) {
            let changes = std::mem::take(&mut self.subscriptions.state.lock().changes);
            (changes.subscribe.len(), changes.unsubscribe.len())
        }
    }

    #[test]
    fn the_first_client_subscribes_and_waits_until_that_is_live() {
        let fixture = Fixture::up();
        let mut first = fixture.subscriptions.enter(&room(), fixture.at(0)).unwrap();
        let mut second = fixture.subscriptions.enter(&room(), fixture.at(0)).unwrap();
        assert_eq!(fixture.changes(), (1, 0));
        assert!(first.try_recv().is_err());
        assert_eq!(fixture.subscriptions.live(&[room()]), []);
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
        assert!(fixture.subscriptions.enter(&room(), fixture.at(0)).is_none());
        assert_eq!(fixture.changes(), (0, 0));
    }

    #[test]
    fn nobody_waits_for_more_than_a_second_or_for_a_broker_that_is_gone() {
        let fixture = Fixture::up();
        let mut waiting = fixture.subscriptions.enter(&room(), fixture.at(0)).unwrap();
        fixture.subscriptions.sweep(fixture.at(700), |_| true);
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        fixture.subscriptions.sweep(fixture.at(950), |_| true);
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(fixture.subscriptions.live(&[room()]), [room()]);
        assert_eq!(fixture.subscriptions.live(&[room()]), []);
        fixture.subscriptions.down();
        fixture.subscriptions.up();
        let mut waiting = fixture.subscriptions.enter(&room(), fixture.at(1000)).unwrap();
        fixture.subscriptions.down();
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(fixture.subscriptions.enter(&room(), fixture.at(1000)).is_none());
        assert_eq!(fixture.subscriptions.begin(), [room()]);
    }

    #[test]
    fn the_last_client_ends_it_after_a_while() {
        let fixture = Fixture::up();
        for topic in [room(), Topic::App] {
            drop(fixture.subscriptions.enter(&topic, fixture.at(0)));
        }
        assert_eq!(fixture.changes(), (2, 0));
        fixture.subscriptions.left(&room(), fixture.at(0));
        fixture.subscriptions.sweep(fixture.at(0), |_| false);
        fixture.subscriptions.sweep(fixture.at(900), |_| false);
        assert_eq!(fixture.changes(), (0, 0));
        fixture.subscriptions.sweep(fixture.at(1100), |_| false);
        assert_eq!(fixture.changes(), (0, 2));
        assert!(!fixture.subscriptions.contains(&room()));
    }

    #[test]
    fn a_room_that_fills_again_stays_subscribed_to() {
        let fixture = Fixture::up();
        drop(fixture.subscriptions.enter(&room(), fixture.at(0)));
        fixture.subscriptions.left(&room(), fixture.at(0));
        fixture.subscriptions.enter(&room(), fixture.at(500));
        fixture.subscriptions.sweep(fixture.at(2000), |_| true);
        assert_eq!(fixture.changes(), (1, 0));
        // A client has entered that has not said so yet.
        fixture.subscriptions.left(&room(), fixture.at(3000));
        fixture.subscriptions.sweep(fixture.at(5000), |_| true);
        assert_eq!(fixture.changes(), (0, 0));
        assert!(fixture.subscriptions.contains(&room()));
    }

    #[test]
    fn a_client_on_its_way_into_a_room_holds_the_subscription() {
        let fixture = Fixture::up();
        drop(fixture.subscriptions.hold(&room(), fixture.at(0)));
        fixture.subscriptions.left(&room(), fixture.at(0));
        fixture.subscriptions.sweep(fixture.at(5000), |_| false);
        assert_eq!(fixture.changes(), (1, 0));
        fixture.subscriptions.release(&room(), fixture.at(5000));
        fixture.subscriptions.sweep(fixture.at(5000), |_| false);
        fixture.subscriptions.sweep(fixture.at(6100), |_| false);
        assert_eq!(fixture.changes(), (0, 1));
    }

    #[test]
    fn what_is_not_wanted_any_more_has_no_channel() {
        let fixture = Fixture::up();
        drop(fixture.subscriptions.enter(&room(), fixture.at(0)));
        assert_eq!(fixture.subscriptions.channels(&[room(), Topic::App]), [Arc::from("n-room-x")]);
    }
}
