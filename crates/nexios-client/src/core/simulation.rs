//! Wishes against a server that answers whenever it likes, and a network that breaks: at rest the client is where the
//! application wants it to be, and every call has ended.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::room::Settled;
use super::{Core, Link, SUBPROTOCOL, Settings, Step};
use crate::end::End;
use crate::event::RoomEvent;
use crate::feed::Consumer;
use crate::message::Message;
use crate::positions::Positions;

const ROOMS: [&str; 2] = ["a", "b"];
const ANSWERS_MAX: usize = 1000;

#[derive(Clone, Debug)]
enum Deed {
    Join(usize),
    Leave(usize),
    Subscribe(usize),
    Unsubscribe(usize),
    /// The application gives up one of its calls.
    GiveUp(usize),
    /// The server answers the next frame; not if it is to refuse it.
    Answer {
        refuse: bool,
    },
    /// The server ends the client's stay.
    Kick(usize),
    Cut,
    /// The next attempt comes.
    Attempt,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => (0..2usize).prop_map(Deed::Join),
        3 => (0..2usize).prop_map(Deed::Leave),
        1 => (0..2usize).prop_map(Deed::Subscribe),
        1 => (0..2usize).prop_map(Deed::Unsubscribe),
        1 => any::<usize>().prop_map(Deed::GiveUp),
        6 => prop::bool::weighted(0.1).prop_map(|refuse| Deed::Answer { refuse }),
        1 => (0..2usize).prop_map(Deed::Kick),
        1 => Just(Deed::Cut),
        2 => Just(Deed::Attempt),
    ];
    prop::collection::vec(deed, 1..60)
}

/// The application's view of a room.
struct Seen {
    events: Consumer<RoomEvent>,
    is_in: bool,
}

struct World {
    core: Core,
    now: Instant,
    /// Frames that the server has not answered.
    frames: VecDeque<Value>,
    /// Rooms that the client is in, on this connection.
    members: HashSet<String>,
    waiting: Vec<(&'static str, u64, Settled)>,
    subscriptions: [usize; 2],
    seen: Vec<Seen>,
}

impl World {
    fn new() -> Self {
        let chance = Arc::new(|| 0.5);
        let (stable_after, open_timeout) = (Duration::from_secs(10), Duration::from_secs(10));
        let (retry_first, addresses, is_renewable) = (true, 1, false);
        let settings = Settings { stable_after, open_timeout, retry_first, addresses, is_renewable, chance };
        let now = Instant::now();
        let mut core = Core::new(settings, Positions::new(Vec::new(), false), now);
        let seen = ROOMS.iter().map(|name| Seen { events: Consumer::new(core.room(name).unwrap()), is_in: false });
        let seen = seen.collect();
        let (frames, members) = (VecDeque::new(), HashSet::new());
        World { core, now, frames, members, waiting: Vec::new(), subscriptions: [0; 2], seen }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Join(room) => {
                let (ticket, settled) = self.core.join(ROOMS[room], None).unwrap();
                self.waiting.push((ROOMS[room], ticket, settled));
            }
            Deed::Leave(room) => {
                let (ticket, settled) = self.core.leave(ROOMS[room]).unwrap();
                self.waiting.push((ROOMS[room], ticket, settled));
            }
            Deed::Subscribe(room) => {
                self.subscriptions[room] += 1;
                self.core.subscribe(ROOMS[room]).unwrap();
            }
            Deed::Unsubscribe(room) if self.subscriptions[room] > 0 => {
                self.subscriptions[room] -= 1;
                self.core.unsubscribe(ROOMS[room]);
            }
            Deed::Unsubscribe(_) => {}
            Deed::GiveUp(which) => self.give_up(which),
            Deed::Answer { refuse } => self.answer(refuse),
            Deed::Kick(room) => self.kick(ROOMS[room]),
            Deed::Cut => self.core.ended(self.now, End::lost("cut")),
            Deed::Attempt => self.attempt(),
        }
        self.work();
    }

    fn give_up(&mut self, which: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let (room, ticket, mut settled) = self.waiting.swap_remove(which % self.waiting.len());
        if settled.try_recv() == Err(TryRecvError::Empty) {
            self.core.give_up(room, ticket);
        }
    }

    fn say(&mut self, header: Value) {
        self.core.received(self.now, Message::Text(format!("\u{1e}{header}\n")));
    }

    fn kick(&mut self, room: &str) {
        if self.members.remove(room) {
            self.say(json!({"type": "left", "room": room}));
        }
    }

    fn attempt(&mut self) {
        if let Link::Waiting { until } = self.core.link {
            self.now = until;
            self.core.handle_timeout(self.now);
        }
    }

    fn answer(&mut self, refuse: bool) {
        let Some(frame) = self.frames.pop_front() else { return };
        let (id, room) = (frame["id"].clone(), frame["room"].as_str().unwrap_or_default().to_owned());
        match frame["type"].as_str().unwrap() {
            "hello" => return self.say(json!({"type": "welcome", "id": "c", "retry_ms": [100, 300]})),
            "join" if refuse => {
                return self.say(json!({"type": "error", "id": id, "code": "forbidden", "message": "no"}));
            }
            "join" if self.members.insert(room.clone()) => self.say(json!({"type": "joined", "room": room})),
            "leave" if self.members.remove(&room) => self.say(json!({"type": "left", "room": room})),
            _ => {}
        }
        self.say(json!({"type": "ack", "id": id}));
    }

    /// Does what a session does.
    fn work(&mut self) {
        while let Some(step) = self.core.next_step() {
            match step {
                Step::Dial { .. } => {
                    self.frames.clear();
                    self.members.clear();
                    self.core.dialled(self.now, Some(SUBPROTOCOL));
                }
                Step::Send(message) => self.sent(&message),
                Step::Cut | Step::Close { .. } => {}
            }
        }
        (0..ROOMS.len()).for_each(|room| self.look(room));
    }

    /// A frame of the client: of each room one at a time.
    fn sent(&mut self, message: &Message) {
        let header = message.as_text().unwrap().trim_start_matches('\u{1e}').lines().next().unwrap();
        let header: Value = serde_json::from_str(header).unwrap();
        let is_other = |frame: &Value| frame["room"].is_null() || frame["room"] != header["room"];
        assert!(self.frames.iter().all(is_other), "two frames of one room: {header}, {:?}", self.frames);
        self.frames.push_back(header);
    }

    /// The application reads: between two `left` there is a `joined`.
    fn look(&mut self, room: usize) {
        let seen = &mut self.seen[room];
        seen.events.handled();
        while let Poll::Ready(Some(event)) = seen.events.poll_next(&mut Context::from_waker(Waker::noop())) {
            match event {
                RoomEvent::Joined { .. } => seen.is_in = true,
                RoomEvent::Left { code, .. } => {
                    assert!(seen.is_in || code.is_some(), "left twice");
                    seen.is_in = false;
                }
                other => panic!("{other:?}"),
            }
            seen.events.handled();
        }
    }

    /// The server answers everything, over as many connections as it takes.
    fn rest(&mut self) {
        for _ in 0..ANSWERS_MAX {
            if !matches!(self.core.link, Link::Open { .. }) {
                self.act(Deed::Attempt);
            }
            if self.frames.is_empty() && matches!(self.core.link, Link::Open { .. }) {
                return;
            }
            self.act(Deed::Answer { refuse: false });
        }
        panic!("the client does not come to rest");
    }

    fn check(&mut self) {
        for (room, ticket, settled) in &mut self.waiting {
            assert_ne!(settled.try_recv(), Err(TryRecvError::Empty), "call {ticket} of {room} has not ended");
        }
        for (room, name) in ROOMS.iter().enumerate() {
            let is_member = self.members.contains(*name);
            let (wish, is_joined) = (self.core.rooms[*name].wish(), self.core.is_joined(name));
            assert_eq!((is_joined, self.seen[room].is_in), (is_member, is_member), "{name}");
            assert!(is_member == wish, "{name}: member {is_member}, wish {wish}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn at_rest_the_client_is_where_it_is_wanted(deeds in deeds()) {
        let mut world = World::new();
        world.work();
        deeds.into_iter().for_each(|deed| world.act(deed));
        // Rooms that the server has ended are asked for on the next connection.
        world.act(Deed::Cut);
        world.rest();
        world.check();
    }
}
