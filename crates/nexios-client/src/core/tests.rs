//! Limits of the core, and what is left where nobody reads.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Core, SUBPROTOCOL, Settings, Step};
use crate::event::{Event, RoomEvent};
use crate::feed::{Consumer, UNASKED_BYTES_MAX};
use crate::message::Message;
use crate::positions::Positions;

const NONCE: &str = "0123456789abcdef0123456789abcdef";

fn open() -> (Core, Instant) {
    let (stable_after, open_timeout) = (Duration::from_secs(10), Duration::from_secs(10));
    let (retry_first, addresses, is_renewable, chance) = (true, 1, false, Arc::new(|| 0.5));
    let settings = Settings { stable_after, open_timeout, retry_first, addresses, is_renewable, chance };
    let now = Instant::now();
    let mut core = Core::new(settings, Positions::new(Vec::new(), false), now);
    core.dialled(now, Some(SUBPROTOCOL));
    say(&mut core, now, json!({"type": "welcome", "id": "c", "retry_ms": [100, 300]}));
    while core.next_step().is_some() {}
    (core, now)
}

fn say(core: &mut Core, now: Instant, header: Value) {
    core.received(now, Message::Text(format!("\u{1e}{header}\n")));
}

fn take<T: Clone>(events: &mut Consumer<T>) -> Option<T> {
    events.handled();
    match events.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}

#[test]
fn a_server_names_a_thousand_rooms_at_most() {
    let (mut core, now) = open();
    let mut events = Consumer::new(core.events());
    while take(&mut events).is_some() {}
    for room in 0..1000 {
        say(&mut core, now, json!({"type": "joined", "room": format!("r{room}")}));
        assert!(matches!(take(&mut events), Some(Event::Joined { .. })));
    }
    for room in 1000..3000 {
        say(&mut core, now, json!({"type": "joined", "room": format!("r{room}")}));
        assert!(matches!(take(&mut events), Some(Event::Error(error)) if error.code() == "rooms"));
    }
    assert_eq!((core.rooms.len(), core.is_joined("r999"), core.is_joined("r1000")), (1000, true, false));
    assert_eq!(core.room("mine").map(drop).map_err(|error| error.code().to_owned()), Err("argument".to_owned()));
    say(&mut core, now, json!({"type": "left", "room": "r7"}));
    assert!(core.room("mine").is_ok(), "a room that was left makes place");
}

#[test]
fn a_room_that_nobody_reads_keeps_the_connection_and_says_that_there_is_a_hole() {
    let (mut core, now) = open();
    say(&mut core, now, json!({"type": "joined", "room": "r", "position": format!("a1-0-{NONCE}"), "recovered": true}));
    for offset in 1..=2500 {
        say(&mut core, now, json!({"type": "message", "room": "r", "offset": offset, "nonce": NONCE}));
    }
    assert!(core.next_step().is_none() && core.is_joined("r"));
    let mut events = Consumer::new(core.room("r").unwrap());
    assert!(matches!(take(&mut events), Some(RoomEvent::Joined { recovered: false, has_history: true, .. })));
    let rest: Vec<_> = std::iter::from_fn(|| take(&mut events)).collect();
    assert!(matches!(rest.last(), Some(RoomEvent::Message { offset: Some(2500), .. })), "{}", rest.len());
}

#[test]
fn rooms_that_nobody_asked_for_keep_little_of_what_a_server_sends() {
    let (mut core, now) = open();
    let _mine = core.room("mine").unwrap();
    for room in ["mine", "other"] {
        say(&mut core, now, json!({"type": "joined", "room": room}));
        for _ in 0..100 {
            let header = json!({"type": "message", "room": room});
            core.received(now, Message::Text(format!("\u{1e}{header}\n{}", "x".repeat(10_000))));
        }
    }
    let bytes = |room: &str| core.rooms[room].feed.bytes();
    assert_eq!((bytes("mine"), bytes("other") <= UNASKED_BYTES_MAX), (1_000_000, true), "{}", bytes("other"));
    let mut events = Consumer::new(core.room("other").unwrap());
    assert!(matches!(take(&mut events), Some(RoomEvent::Gap { missed: None })));
}

#[test]
fn a_room_whose_name_is_too_long_for_a_client_is_not_kept() {
    let (mut core, now) = open();
    say(&mut core, now, json!({"type": "joined", "room": "x".repeat(5000)}));
    assert!(core.rooms.is_empty());
}

#[test]
fn events_that_nobody_reads_do_not_grow() {
    let (mut core, now) = open();
    (0..5000).for_each(|_| core.received(now, Message::Text("x".repeat(100))));
    let mut events = Consumer::new(core.events());
    let count = std::iter::from_fn(|| take(&mut events)).count();
    assert!(count <= 1000, "{count}");
}

#[test]
fn messages_of_a_lost_connection_are_not_sent_on_the_next() {
    let (mut core, now) = open();
    assert_eq!(core.send("lost".into()), Ok(true));
    core.drop_connection(now, false);
    assert_eq!((core.next_step(), core.next_step(), core.is_full()), (Some(Step::Cut), None, false));
}

#[test]
fn a_server_that_says_little_of_its_limits_is_asked_one_at_a_time() {
    let (mut core, now) = open();
    core.ended(now, crate::end::End::lost("cut"));
    core.reconnect(now);
    core.dialled(now, Some(SUBPROTOCOL));
    say(&mut core, now, json!({"type": "welcome", "id": "c", "limits": {"unanswered": 0}}));
    while core.next_step().is_some() {}
    let _asked = [(); 3].map(|()| core.request(now, "m", &Message::empty(), None).unwrap());
    assert!(matches!(core.next_step(), Some(Step::Send(_))));
    assert_eq!(core.next_step(), None);
}

/// A member of a frame, right or wrong.
fn members() -> impl Strategy<Value = Value> {
    let position = format!("a1-7-{NONCE}");
    prop_oneof![
        Just(json!("r")),
        Just(json!(position)),
        Just(json!(NONCE)),
        Just(json!([100, 300])),
        Just(json!({"message_bytes": 10, "unanswered": 3})),
        Just(Value::Null),
        (0u64..9).prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,9}".prop_map(|text| json!(text)),
    ]
}

fn frames() -> impl Strategy<Value = Value> {
    let types =
        ["welcome", "joined", "left", "message", "reset", "gap", "ack", "reply", "error", "presence", "closing"];
    let names =
        ["id", "room", "position", "recovered", "offset", "nonce", "missed", "code", "message", "user", "event"];
    let names = names.into_iter().chain(["retry_ms", "limits", "reason"]).collect::<Vec<_>>();
    let some = prop::collection::hash_map(prop::sample::select(names), members(), 0..6);
    (prop::sample::select(types.to_vec()), some).prop_map(|(kind, members)| {
        let mut frame = json!({"type": kind});
        members.into_iter().for_each(|(name, value)| frame[name] = value);
        frame
    })
}

proptest! {
    #[test]
    fn whatever_a_server_says_the_client_goes_on(frames in prop::collection::vec(frames(), 1..30)) {
        let (mut core, mut now) = open();
        let _joining = core.join("r", None).unwrap();
        let _asked = [(); 5].map(|()| core.request(now, "m", &Message::empty(), None).unwrap());
        let _publishing = core.publish(now, "r", "k".to_owned(), &Message::empty()).unwrap();
        for frame in frames {
            say(&mut core, now, frame);
            while core.next_step().is_some() {}
            if core.state() == crate::State::Parked {
                core.reconnect(now);
            }
            if let Some(until) = core.next_timeout().filter(|_| core.state() != crate::State::Open) {
                now = until;
                core.handle_timeout(now);
            }
            core.dialled(now, Some(SUBPROTOCOL));
            say(&mut core, now, json!({"type": "welcome", "id": "c"}));
        }
        core.close();
        prop_assert!(core.is_closed() && core.next_timeout().is_none());
    }
}
