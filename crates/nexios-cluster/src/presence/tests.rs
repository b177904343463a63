//! What nodes come to know, whatever happens on the way.

use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use super::repair::ANSWER_MAX;
use super::replica::{Replica, Settings};
use super::simulation::{TTL, World, ms};
use super::users::{Change, cost};
use super::wire::Announcement;
use super::{DATA_BYTES_MAX, PresenceError, USER_BYTES_MAX};
use crate::envelope::NodeId;
use crate::seeds::seeds;
use crate::topic::Topic;

fn change_faults(world: &mut World) {
    let at = world.random.usize(..world.nodes.len());
    match world.random.u32(..9) {
        0 => world.faults.loss = world.random.f64() / 2.0,
        1 => world.faults.loss = 0.0,
        2 => world.faults.delay_max = ms(world.random.u64(..3000)),
        3 => {
            let ids: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
            world.faults.sides = ids.into_iter().map(|id| (id, world.random.u8(..2))).collect();
        }
        4 => world.faults.sides.clear(),
        5 => world.lose_broker(at),
        6 => world.find_broker(at),
        7 if world.nodes.len() > 2 => {
            let with_a_word = world.random.bool();
            world.end_node(at, with_a_word);
        }
        _ if world.nodes.len() < 7 => world.start_node(),
        _ => {}
    }
}

fn end_faults(world: &mut World) {
    world.faults = Default::default();
    world.faults.delay_max = ms(20);
    (0..world.nodes.len()).for_each(|at| world.find_broker(at));
}

#[test]
fn within_two_ttls_after_any_faults_all_nodes_know_the_truth() {
    seeds(|seed| {
        let mut world = World::new(seed, 4);
        for _ in 0..60 {
            (0..world.random.u32(..6)).for_each(|_| world.stir(4, 6));
            change_faults(&mut world);
            let pause = ms(world.random.u64(..4000));
            world.advance(pause);
        }
        end_faults(&mut world);
        let healed = world.now;
        while world.now < healed + ms(10_000) {
            world.stir(4, 6);
            let pause = ms(world.random.u64(..1000));
            world.advance(pause);
        }
        world.advance((healed + 2 * TTL).saturating_duration_since(world.now));
        world.check(&format!("seed {seed}"));
        // Who has not looked yet learns it at once.
        let room = "room 0";
        (0..world.nodes.len()).for_each(|at| {
            let now = world.now;
            world.nodes[at].replica.look(room, now);
        });
        world.advance(ANSWER_MAX);
        world.check(&format!("seed {seed}, after a look"));
    });
}

#[test]
fn without_faults_all_is_known_at_once_and_nobody_leaves_twice() {
    seeds(|seed| {
        let mut world = World::new(seed, 4);
        world.faults.delay_max = ms(20);
        for _ in 0..100 {
            world.stir(3, 5);
            let pause = ms(world.random.u64(..100));
            world.advance(pause);
        }
        world.advance(ms(500));
        world.check(&format!("seed {seed}"));
        let questions = world
            .sent
            .iter()
            .filter(|(_, _, announcement)| matches!(announcement, Announcement::Query { node: Some(_) }))
            .count();
        assert!(questions < 20, "seed {seed}: {questions} repairs where nothing is broken");
    });
}

#[test]
fn several_tabs_on_several_nodes_are_one_user() {
    let mut world = World::new(1, 3);
    let first = world.track(0, "x", "ann", "1");
    let second = world.track(0, "x", "ann", "2");
    let third = world.track(1, "x", "ann", "3");
    world.nodes[2].replica.watch("x", world.now);
    world.advance(ms(500));
    (0..3).for_each(|at| assert_eq!(world.seen(at, "x"), [("ann".into(), "3".into(), 3)]));
    world.untrack(1, "x", third);
    world.untrack(0, "x", first);
    world.advance(ms(500));
    (0..3).for_each(|at| assert_eq!(world.seen(at, "x"), [("ann".into(), "2".into(), 1)]));
    world.untrack(0, "x", second);
    world.advance(ms(500));
    for node in &world.nodes {
        let told = |meant| node.events.iter().filter(|(change, _)| *change == meant).count();
        assert_eq!((told(Change::Join), told(Change::Leave)), (1, 1));
    }
    let here: Vec<bool> = world.nodes.iter().map(|node| node.events.last().unwrap().1.here).collect();
    assert_eq!(here, [true, false, false]);
}

#[test]
fn a_user_who_comes_back_before_the_end_of_the_stay_has_not_left_anywhere() {
    for back_at in [0, 1] {
        let mut world = World::new(1, 3);
        (1..3).for_each(|at| world.nodes[at].replica.watch("x", world.now));
        let first = world.track(0, "x", "ann", "1");
        world.advance(ms(500));
        world.depart(0, &"x".into(), first);
        world.advance(ms(1500));
        world.track(back_at, "x", "ann", "2");
        world.advance(ms(500));
        let connections = if back_at == 0 { 1 } else { 2 };
        (0..3).for_each(|at| assert_eq!(world.seen(at, "x"), [("ann".into(), "2".into(), connections)]));
        assert_eq!(world.nodes[0].replica.untrack("x", first, world.now), back_at == 1);
        world.advance(ms(500));
        (0..3).for_each(|at| assert_eq!(world.seen(at, "x"), [("ann".into(), "2".into(), 1)]));
        for node in &world.nodes {
            let told: Vec<Change> = node.events.iter().map(|(change, _)| *change).collect();
            assert_eq!(told, [Change::Join, Change::Update]);
        }
    }
}

#[test]
fn connections_that_are_gone_and_stay_count_against_the_limit_until_their_users_come_back() {
    let mut world = World::new(1, 1);
    let room: Arc<str> = "x".into();
    for _ in 0..100 {
        let gone = world.track(0, "x", "ann", "1");
        world.depart(0, &room, gone);
    }
    assert_eq!(world.seen(0, "x"), [("ann".into(), "1".into(), 1)], "each stands for those before");
    let replica = &mut world.nodes[0].replica;
    replica.settings.bytes_max = 10 * cost("user 0", "1");
    let track = |replica: &mut Replica, n: u32| {
        let connection = format!("{n:032x}").parse().unwrap();
        replica.track("x", connection, &format!("user {n}"), &"1".into(), world.now).map(|()| connection)
    };
    let mut tracked = 0;
    while let Ok(gone) = track(replica, tracked) {
        replica.depart("x", gone);
        tracked += 1;
    }
    assert!(tracked <= 10 && matches!(track(replica, 99), Err(PresenceError::Full(_))), "{tracked}");
    for n in 0..tracked {
        assert!(replica.untrack("x", format!("{n:032x}").parse().unwrap(), world.now));
    }
    assert!(track(replica, 99).is_ok());
}

#[test]
fn a_node_that_dies_is_gone_within_its_ttl_and_one_that_ends_at_once() {
    for with_a_word in [true, false] {
        let mut world = World::new(2, 3);
        (0..3).for_each(|at| _ = world.track(at, "x", &format!("user {at}"), "1"));
        world.advance(ms(500));
        world.end_node(0, with_a_word);
        world.advance(ms(100));
        assert_eq!(world.seen(0, "x").len(), if with_a_word { 2 } else { 3 });
        world.advance(TTL);
        world.check("dead");
        let leaves = world.nodes[1].events.iter().filter(|(change, _)| *change == Change::Leave);
        assert_eq!(leaves.count(), 1);
    }
}

#[test]
fn while_the_broker_is_away_nobody_leaves_who_is_elsewhere() {
    let mut world = World::new(3, 2);
    let ann = world.track(0, "x", "ann", "1");
    world.track(1, "x", "bob", "1");
    world.advance(ms(500));
    (0..2).for_each(|at| world.lose_broker(at));
    world.advance(3 * TTL);
    assert_eq!(world.seen(1, "x").len(), 2);
    world.untrack(0, "x", ann);
    assert_eq!((world.seen(0, "x").len(), world.seen(1, "x").len()), (1, 2));
    (0..2).for_each(|at| world.find_broker(at));
    world.advance(ms(3000));
    world.check("back");
    assert!(world.nodes[0].events.iter().all(|(change, event)| *change != Change::Leave || &*event.user == "ann"));
}

#[test]
fn a_question_of_many_is_answered_once() {
    let mut world = World::new(4, 50);
    (0..100).for_each(|user| _ = world.track(0, "x", &format!("user {user}"), "1"));
    world.advance(ms(15_000));
    world.sent.clear();
    let now = world.now;
    (1..50).for_each(|at| _ = world.nodes[at].replica.look("x", now));
    world.advance(ANSWER_MAX);
    (1..50).for_each(|at| assert_eq!(world.seen(at, "x").len(), 100));
    let answers =
        world.sent.iter().filter(|(_, _, announcement)| matches!(announcement, Announcement::State { .. })).count();
    assert!(answers <= 2, "{answers} answers");
}

#[test]
fn a_large_room_arrives_in_pieces_and_a_change_in_it_is_one_small_message() {
    let mut world = World::new(5, 2);
    let now = world.now;
    let data: Arc<str> = format!("\"{}\"", "x".repeat(50)).into();
    for user in 0..20_000_u32 {
        let connection = format!("{user:032x}").parse().unwrap();
        world.nodes[0].replica.track("x", connection, &format!("user {user}"), &data, now).unwrap();
    }
    world.advance(ms(15_000));
    world.sent.clear();
    let now = world.now;
    let mut waiting = world.nodes[1].replica.look("x", now).unwrap();
    world.advance(ms(2000));
    assert!(waiting.try_recv().is_ok());
    assert_eq!(world.nodes[1].replica.count("x"), 20_000);
    let longest = world.sent.iter().map(|(_, _, announcement)| announcement.encode().len()).max();
    assert!(longest < Some(64 << 10) && world.sent.len() > 20, "{longest:?} in {}", world.sent.len());
    world.sent.clear();
    world.track(0, "x", "one more", "1");
    world.advance(ms(100));
    assert_eq!(world.nodes[1].replica.count("x"), 20_001);
    assert!(world.sent.iter().map(|(_, _, announcement)| announcement.encode().len()).sum::<usize>() < 200);
}

#[test]
fn changes_while_a_large_room_arrives_are_part_of_it() {
    let mut world = World::new(6, 2);
    for user in 0..3000_u32 {
        world.track(0, "x", &format!("user {user:04}"), &"7".repeat(50));
    }
    let now = world.now;
    world.nodes[1].replica.watch("x", now);
    for round in 0..40 {
        world.advance(ms(10));
        world.stir(1, 1);
        world.track(0, "x", &format!("user {:04}", round * 70), "8");
    }
    world.advance(ms(1000));
    world.check("large");
}

#[test]
fn what_is_too_much_is_refused_and_says_so() {
    let start = tokio::time::Instant::now();
    let bytes_max = 3 * cost("user 1", "1");
    let settings = Settings { ttl: TTL, bytes_max };
    let mut replica = Replica::new(NodeId([1; 16]), settings, fastrand::Rng::with_seed(1), (start, 1));
    let connection = |n: u8| format!("{n:032x}").parse().unwrap();
    let mut track = |n: u8, user: &str, data: &str| replica.track("x", connection(n), user, &data.into(), start);
    assert!(matches!(track(1, "a", &"1".repeat(DATA_BYTES_MAX + 1)), Err(PresenceError::DataTooLong(4097))));
    assert!(matches!(track(1, &"a".repeat(USER_BYTES_MAX + 1), "1"), Err(PresenceError::UserTooLong(1025))));
    (1..4).for_each(|n| track(n, &format!("user {n}"), "1").unwrap());
    let error = track(4, "user 4", "1").unwrap_err();
    assert_eq!(error.to_string(), format!("presence has no room for more: it may take {bytes_max} bytes"));
    assert!(replica.untrack("x", connection(1), start));
    replica.track("x", connection(4), "user 4", &"1".into(), start).unwrap();
    assert_eq!(replica.count("x"), 3);
}

#[test]
fn a_room_that_nobody_needs_is_forgotten_after_a_minute() {
    let mut world = World::new(7, 2);
    world.track(0, "x", "ann", "1");
    let now = world.now;
    world.nodes[1].replica.look("x", now);
    world.advance(ms(59_000));
    assert!(world.nodes[1].replica.needs(&Topic::Presence("x".into())));
    assert_eq!(world.seen(1, "x").len(), 1);
    world.advance(ms(2000));
    assert!(!world.nodes[1].replica.needs(&Topic::Presence("x".into())));
    assert_eq!(world.nodes[1].replica.count("x"), 0);
    let now = world.now;
    for n in 0..11_000 {
        world.nodes[1].replica.look(&format!("room {n}"), now);
    }
    world.advance(ms(100));
    assert!(world.nodes[1].replica.rooms.len() <= 10_000);
    assert!(world.nodes[1].replica.rooms.contains_key("room 10999"));
}

#[test]
fn without_a_broker_a_room_is_there_as_long_as_somebody_is() {
    let start = tokio::time::Instant::now();
    let settings = Settings { ttl: TTL, bytes_max: 1 << 20 };
    let mut replica = Replica::new(NodeId([1; 16]), settings, fastrand::Rng::with_seed(1), (start, 1));
    let connection = format!("{:032x}", 1).parse().unwrap();
    replica.track("x", connection, "ann", &"1".into(), start).unwrap();
    assert!(replica.look("x", start).is_none() && replica.look("y", start).is_none());
    assert_eq!(replica.count("x"), 1);
    assert!(replica.untrack("x", connection, start) && !replica.untrack("x", connection, start));
    assert!(replica.rooms.is_empty() && replica.by_hash.is_empty() && replica.due().is_none());
    assert_eq!(replica.events().len(), 2);
}

/// Eight bytes of a SHA-1 collide after minutes of search; these two names were found so.
#[test]
fn rooms_whose_names_were_chosen_to_collide_are_repaired_all_the_same() {
    const NAMES: [&str; 2] = ["dff9bf31b522575e", "35868eda977d1973"];
    let digests = NAMES.map(Sha1::digest);
    assert_eq!(digests[0][..8], digests[1][..8]);
    for first in [0, 1] {
        let mut world = World::new(1, 2);
        world.faults.delay_max = ms(20);
        for at in [0, 1] {
            for name in [NAMES[first], NAMES[1 - first]] {
                world.track(at, name, &format!("user of {at}"), "1");
            }
        }
        world.advance(2 * TTL);
        world.check("all is known");
        world.faults.loss = 1.0;
        NAMES.iter().for_each(|name| _ = world.track(0, name, "new", "2"));
        world.advance(ms(1000));
        world.faults.loss = 0.0;
        world.advance(2 * TTL);
        world.check("what was lost is repaired in both rooms");
    }
}
