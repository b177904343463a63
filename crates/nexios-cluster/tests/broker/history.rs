//! What holds of rooms with history, with every broker that keeps logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexios::broker::{GapCause, History, Nonce, Position, Published, Publisher};
use nexios::{App, Outcome, Room, future::Broadcasting};
use parking_lot::Mutex;

use crate::node::{Client, Node, send};
use crate::servers::Server;

/// Longer than anything that is under way takes.
const QUIET: Duration = Duration::from_millis(700);
const HOUR: Duration = Duration::from_secs(3600);

fn nodes<const N: usize>(server: &mut dyn Server) -> [Node; N] {
    std::array::from_fn(|_| Node::start(server.broker()))
}

fn with_history(node: &Node, room: &str) -> Room {
    node.room(room).with_history(History::new(5000, HOUR))
}

/// Stores a text, and says where.
fn store(room: &Room, text: impl Into<String>) -> Position {
    let outcome = send(room.broadcast(text.into()));
    assert!(outcome.accepted);
    outcome.stored.unwrap()
}

fn store_all(room: &Room, numbers: std::ops::Range<u64>) -> Vec<Position> {
    numbers.map(|n| store(room, n.to_string())).collect()
}

/// Runs broadcasts side by side, in this order.
fn send_all(broadcasts: impl IntoIterator<Item = Broadcasting>) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = broadcasts.into_iter().map(|broadcast| tokio::spawn(broadcast.into_future())).collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    })
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

fn joined(client: &Client) -> Position {
    let (missed, _, position) = client.joined();
    assert_eq!(missed.len(), 0);
    position
}

pub(crate) fn all_see_one_order_whoever_publishes(server: &mut dyn Server) {
    let nodes = nodes::<3>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let clients: Vec<Client> = nodes.iter().map(|node| node.resume("x", "ann", None)).collect();
    clients.iter().for_each(|client| _ = joined(client));
    std::thread::scope(|scope| {
        for (at, room) in rooms.iter().enumerate() {
            scope.spawn(move || {
                let broadcasts = (0..300).map(|n| room.broadcast(format!("{at} {n}")));
                assert!(send_all(broadcasts).iter().all(|outcome| outcome.stored.is_some() && outcome.count == 1));
            });
        }
    });
    let all: Vec<Vec<String>> = clients.iter().map(|client| client.texts(QUIET)).collect();
    assert_eq!(all[0].len(), 900);
    assert!(all[0] == all[1] && all[0] == all[2], "one order");
    for at in ["0 ", "1 ", "2 "] {
        let numbers = all[0].iter().filter_map(|text| text.strip_prefix(at)?.parse::<u64>().ok());
        assert!(numbers.eq(0..300), "the order of each publisher");
    }
    let page = send_history(&rooms[1], 1000, None);
    assert!(page.messages.iter().map(|stored| stored.message.as_text().unwrap()).eq(all[0].iter().map(String::as_str)));
    assert!(nodes.iter().all(|node| node.gaps().is_empty()));
    assert_eq!(nodes.iter().map(|node| node.metrics().stored).sum::<u64>(), 900);
}

fn send_history(room: &Room, limit: usize, since: Option<Position>) -> nexios::broker::HistoryPage {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reading = room.history().limit(limit);
    let reading = match since {
        Some(since) => reading.since(since),
        None => reading,
    };
    runtime.block_on(reading.into_future()).unwrap()
}

pub(crate) fn a_client_that_comes_back_gets_what_it_missed_once(server: &mut dyn Server) {
    let nodes = nodes::<3>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let start = store(&rooms[0], "before");
    let (positions, over) = (Arc::new(Mutex::new(vec![])), AtomicBool::new(false));
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for n in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    return n;
                }
                let mut positions = positions.lock();
                positions.push(store(&rooms[0], n.to_string()));
                drop(positions);
                std::thread::sleep(Duration::from_micros(200));
            }
            0
        });
        let mut since = start;
        for round in 0..12 {
            let client = nodes[round % 3].resume("x", "ann", Some(since));
            let (missed, recovered, _) = client.joined();
            assert!(recovered);
            got.extend(missed);
            got.extend((0..20).map(|_| client.next()));
            drop(client);
            std::thread::sleep(Duration::from_millis(20 * (round as u64 % 3)));
            let last: usize = got.last().unwrap().parse().unwrap();
            since = loop {
                // It may have come before its publisher has heard that it is stored.
                if let Some(position) = positions.lock().get(last) {
                    break *position;
                }
            };
        }
        over.store(true, Ordering::Relaxed);
        let published = publisher.join().unwrap();
        let client = nodes[1].resume("x", "ann", Some(since));
        got.extend(client.joined().0);
        // The last ones may still be on their way to this node: they are live.
        while (got.len() as u64) < published {
            got.push(client.next());
        }
        assert_eq!(got, texts(0..published));
    });
    assert!(nodes.iter().all(|node| node.gaps().is_empty()));
}

pub(crate) fn a_leave_counts_instead_of_a_join_that_waits(server: &mut dyn Server) {
    let node = Node::start(server.broker());
    for room in ["x", "y", "z"] {
        let room_with_history = with_history(&node, room);
        store(&room_with_history, "1");
        assert_eq!(node.taken_out(room), "true false 0 true 1", "{room}");
    }
}

pub(crate) fn what_cannot_be_recovered_is_said(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| node.room("x").with_history(History::new(10, HOUR))).collect();
    let positions = store_all(&rooms[0], 0..30);
    let other = "00112233445566778899aabbccddeeff";
    let wrong_nonce: Position = format!("{:x}-{}-{other}", positions[28].epoch, positions[28].offset).parse().unwrap();
    let wrong_epoch = Position { epoch: positions[28].epoch ^ 1, ..positions[28] };
    let beyond = Position { offset: positions[29].offset + 5, ..positions[29] };
    for (since, recovered) in [
        (positions[29], true),
        (positions[25], true),
        (positions[3], false),
        (wrong_nonce, false),
        (wrong_epoch, false),
        (beyond, false),
        (Position::default(), false),
    ] {
        for node in &nodes {
            let client = node.resume("x", "ann", Some(since));
            let expected = if recovered { texts(since.offset - positions[0].offset + 1..30) } else { vec![] };
            assert_eq!(client.joined(), (expected, recovered, positions[29]), "{since}");
        }
    }
    let client = nodes[1].resume("x", "ann", Some(positions[3]));
    client.joined();
    store(&rooms[0], "live");
    client.expect(["live"]);
}

pub(crate) fn a_place_before_the_first_message_is_worth_what_was_given_out(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let _other = with_history(&nodes[0], "y");
    let start = joined(&nodes[0].resume("x", "ann", None));
    let elsewhere = joined(&nodes[0].resume("y", "ann", None));
    assert_eq!(nodes[1].resume("x", "ann", Some(start)).joined(), (vec![], true, start));
    let positions = store_all(&rooms[0], 0..5);
    let [first, last] = [positions[0], positions[4]];
    assert_eq!(start.epoch, first.epoch, "a client counts on from where it began");
    for node in &nodes {
        assert_eq!(node.resume("x", "ann", Some(start)).joined(), (texts(0..5), true, last));
        let zeros = Position { nonce: Nonce::default(), ..start };
        let before = Position { offset: 0, nonce: Nonce::default(), ..first };
        for forged in [zeros, before, Position { offset: 0, ..last }, elsewhere, Position::default()] {
            assert_eq!(node.resume("x", "bob", Some(forged)).joined(), (vec![], false, last), "{forged}");
            let page = send_history(&node.room("x"), 2, Some(forged));
            assert_eq!((page.recovered, page.messages.len(), page.position), (false, 2, last), "the newest instead");
        }
    }
}

pub(crate) fn what_is_past_its_time_is_not_recovered(server: &mut dyn Server) {
    let [node] = nodes::<1>(server);
    let room = node.room("x").with_history(History::new(100, Duration::from_secs(1)));
    let witness = node.resume("x", "bob", None);
    joined(&witness);
    let end = Instant::now() + Duration::from_secs(60);
    let positions = loop {
        let begun = Instant::now();
        let positions = store_all(&room, 0..3);
        let got = node.resume("x", "ann", Some(positions[0])).joined();
        // On a machine with much else to do they may be past their time by then.
        if begun.elapsed() < Duration::from_millis(900) {
            assert_eq!(got, (texts(1..3), true, positions[2]));
            break positions;
        }
        assert!(Instant::now() < end, "a second is over each time");
    };
    loop {
        let (missed, recovered, position) = node.resume("x", "ann", Some(positions[0])).joined();
        assert_eq!(position, positions[2]);
        if !recovered {
            assert_eq!(missed.len(), 0);
            break;
        }
        assert!(Instant::now() < end, "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The broker's clock and the node's need not agree to the millisecond.
    while !send_history(&room, 10, None).messages.is_empty() {
        assert!(Instant::now() < end, "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    let next = store(&room, "3");
    assert!(next.offset > positions[2].offset && next.epoch == positions[2].epoch);
}

pub(crate) fn a_new_epoch_is_a_gap_and_no_false_recovery(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let witness = nodes[1].resume("x", "bob", None);
    joined(&witness);
    let positions = store_all(&rooms[0], 0..5);
    assert_eq!(witness.texts(QUIET), texts(0..5));
    server.restart_empty();
    for node in &nodes {
        node.wait_until("reconnected", |node| node.metrics().connected && node.metrics().reconnects > 0);
    }
    nodes[1].wait_until("reset", |node| node.gaps().iter().any(|gap| gap.cause == GapCause::Reset));
    assert_eq!(nodes[1].metrics().resets, 1);
    let new = store_all(&rooms[0], 0..9);
    assert_ne!(new[0].epoch, positions[0].epoch);
    assert_eq!(witness.texts(QUIET), texts(0..9));
    // An offset of the old epoch says nothing in the new one.
    let client = nodes[0].resume("x", "ann", Some(positions[4]));
    assert_eq!(client.joined(), (vec![], false, new[8]));
}

pub(crate) fn a_broker_that_is_killed_loses_and_doubles_nothing_that_it_stored(server: &mut dyn Server) {
    if !server.keeps_history() {
        return;
    }
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let clients: Vec<Client> = nodes.iter().map(|node| node.resume("x", "ann", None)).collect();
    clients.iter().for_each(|client| _ = joined(client));
    let accepted = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let publishers: Vec<_> = rooms
            .iter()
            .enumerate()
            .map(|(at, room)| {
                let accepted = &accepted;
                scope.spawn(move || {
                    for n in 0..200 {
                        let outcomes = send_all((0..5).map(|m| room.broadcast(format!("{at} {}", n * 5 + m))));
                        accepted.fetch_and(outcomes.iter().all(|outcome| outcome.accepted), Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(3));
                    }
                })
            })
            .collect();
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(150));
            server.kill();
            std::thread::sleep(Duration::from_millis(50));
            server.restart();
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
    assert!(accepted.load(Ordering::Relaxed));
    let all: Vec<Vec<String>> = clients.iter().map(|client| client.texts(QUIET * 2)).collect();
    assert_eq!(all[0], all[1]);
    for at in ["0 ", "1 "] {
        let numbers = all[0].iter().filter_map(|text| text.strip_prefix(at)?.parse::<u64>().ok());
        assert!(numbers.eq(0..1000), "all, once and in order: {:?}", nodes[0].metrics());
    }
    assert!(nodes.iter().all(|node| node.metrics().resets == 0 && node.metrics().reconnects > 0));
}

pub(crate) fn a_key_is_stored_once(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let client = nodes[1].resume("x", "ann", None);
    joined(&client);
    let positions: Vec<Option<Position>> = [(0, "a"), (1, "a"), (0, "b"), (1, "a")]
        .into_iter()
        .map(|(at, key)| send(rooms[at].broadcast(format!("{at}{key}")).idempotency_key(key)).stored)
        .collect();
    assert!(positions[0].is_some() && positions[0] != positions[2]);
    assert_eq!([positions[1], positions[3]], [positions[0]; 2]);
    client.expect(["0a", "0b"]);
    client.expect_nothing();
}

pub(crate) fn a_slow_client_gets_all_that_it_missed(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let padding = "x".repeat(10_000);
    let start = store(&rooms[0], "start");
    send_all((0..1000).map(|n| rooms[0].broadcast(format!("here {n} {padding}"))));
    let (mut websocket, _) = nodes[1].open_resuming("x", "ann", Some(start));
    nodes[1].wait_until("read for it", |node| node.metrics().read > 0);
    // What comes while it does not read.
    send_all((1000..1200).map(|n| rooms[0].broadcast(format!("here {n} {padding}"))));
    let mut numbers = Vec::new();
    let mut recovered = false;
    while numbers.len() < 1200 || !recovered {
        let message = websocket.read().unwrap();
        let text = message.to_text().unwrap();
        match text.strip_prefix("joined ") {
            Some(joined) => recovered = joined.starts_with("true"),
            None => numbers.push(text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()),
        }
    }
    assert!(numbers.into_iter().eq(0..1200));
    assert!(nodes.iter().all(|node| node.gaps().is_empty()));
}

pub(crate) fn whatever_a_broadcast_says_is_remembered(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let (ann, bob) = (nodes[0].resume("x", "ann", None), nodes[1].resume("x", "bob", None));
    let (start, _) = (joined(&ann), joined(&bob));
    assert_eq!(send(rooms[0].broadcast("not for ann").exclude(["ann"]).key("key").compress(false)).count, 0);
    assert_eq!(send(rooms[0].broadcast("not for bob").exclude(["bob"])).count, 1);
    bob.expect(["not for ann"]);
    ann.expect(["not for bob"]);
    send(rooms[0].broadcast_to(["bob"], "to bob"));
    bob.expect(["to bob"]);
    ann.expect_nothing();
    for (name, missed) in [("ann", "not for bob"), ("bob", "not for ann")] {
        let (texts, recovered, _) = nodes[1].resume("x", name, Some(start)).joined();
        assert_eq!((texts, recovered), (vec![missed.to_owned()], true), "what is for some is not remembered");
    }
}

pub(crate) fn a_burst_is_read_again_and_not_lost(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker().incoming_bytes_max(16 << 10)));
    let rooms: Vec<Room> = [&here, &there].into_iter().map(|node| with_history(node, "x")).collect();
    let client = there.resume("x", "ann", None);
    joined(&client);
    let padding = "x".repeat(200);
    send_all((0..5000).map(|n| rooms[0].broadcast(format!("here {n} {padding}"))));
    let numbers = client.numbered(QUIET * 2);
    assert!(numbers["here"].iter().copied().eq(0..5000), "{}", numbers["here"].len());
    println!("{} resyncs", there.metrics().resyncs);
    assert!(there.metrics().resyncs > 0 && there.gaps().is_empty());
}

pub(crate) fn those_who_come_back_at_once_are_served_by_the_node(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    let witness = nodes[1].resume("x", "witness", None);
    joined(&witness);
    let positions = store_all(&rooms[0], 0..100);
    assert_eq!(witness.texts(QUIET), texts(0..100));
    let read = nodes[1].metrics().read;
    let clients: Vec<Client> = (0..200).map(|_| nodes[1].resume("x", "ann", Some(positions[49]))).collect();
    store(&rooms[0], "100");
    for client in &clients {
        // The last one is missed, or live; and what is live may come before the client is told where it is.
        let (mut missed, recovered, _) = client.joined();
        if missed.len() < 51 {
            missed.push(client.next());
        }
        assert_eq!((missed, recovered), (texts(50..101), true));
    }
    assert_eq!(nodes[1].metrics().read, read, "the broker was not asked");
}

pub(crate) fn a_history_is_read_page_by_page(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| node.room("x").with_history(History::new(50, HOUR))).collect();
    let positions = store_all(&rooms[0], 0..60);
    let page = send_history(&rooms[1], 5, None);
    let read = |page: &nexios::broker::HistoryPage| {
        page.messages.iter().map(|stored| stored.message.as_text().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((read(&page), page.position, page.recovered), (texts(55..60), positions[59], true));
    assert!(page.messages[0].time.elapsed().unwrap() < Duration::from_secs(60));
    let page = send_history(&rooms[1], 20, Some(positions[19]));
    assert_eq!((read(&page), page.position, page.recovered), (texts(20..40), positions[39], true));
    let page = send_history(&rooms[1], 20, Some(page.position));
    assert_eq!(read(&page), texts(40..60));
    let page = send_history(&rooms[1], 20, Some(page.position));
    assert_eq!((read(&page), page.position, page.recovered), (vec![], positions[59], true));
    let page = send_history(&rooms[1], 1000, Some(positions[2]));
    assert_eq!((read(&page), page.recovered), (texts(10..60), false), "the newest instead");
}

#[test]
fn without_a_broker_rooms_remember_in_the_process() {
    let app = App::new();
    let lobby = app.handle().room("lobby").with_history(History::new(100, HOUR));
    let node = Node::serve(app);
    assert!(node.app.broker_metrics().is_none(), "nothing is started for what nobody uses");
    let plain = node.client("plain", "ann");
    assert_eq!(send(node.room("plain").broadcast("hello")).stored, None);
    plain.expect(["hello"]);
    assert!(node.app.broker_metrics().is_none());
    let client = node.client("lobby", "ann");
    let positions = store_all(&lobby, 0..10);
    client.expect(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(node.resume("lobby", "bob", Some(positions[4])).joined(), (texts(5..10), true, positions[9]));
    // A room that was not declared remembers nothing.
    assert_eq!(node.resume("plain", "bob", Some(positions[4])).joined(), (vec![], false, Position::default()));
    assert_eq!((node.metrics().stored, lobby.count()), (10, 1));
}

#[test]
fn whoever_waits_for_a_broker_that_is_away_waits_for_five_seconds() {
    let memory = nexios::broker::Memory::new();
    let node = Node::start((&memory).into());
    let room = with_history(&node, "x");
    let client = node.resume("x", "ann", None);
    let start = joined(&client);
    memory.stop();
    let begun = Instant::now();
    let outcome = send(room.broadcast("late"));
    let waited = begun.elapsed();
    assert!(outcome.accepted && outcome.stored.is_none());
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&waited), "{waited:?}");
    // The node still knows what its members have: nobody has to wait for that.
    assert_eq!(node.resume("x", "bob", Some(start)).joined(), (vec![], true, start));
    memory.start();
    client.expect(["late"]);
}

#[test]
fn a_broker_that_cannot_say_what_it_has_to_is_an_error_at_the_start() {
    use nexios::broker::{Broker, Durability, Memory};
    let start = |level| App::new().broker(Broker::from(&Memory::new()).durability(level)).start("127.0.0.1:0");
    assert!(start(Durability::Stored).is_ok());
    let error = start(Durability::Replicated).err().unwrap().to_string();
    assert!(error.contains("cannot say of a message that it is replicated"), "{error}");
}

pub(crate) fn a_publisher_stores_without_serving(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let room = with_history(&nodes[0], "x");
    let (ann, bob) = (nodes[0].resume("x", "ann", None), nodes[1].resume("x", "bob", None));
    let start = [joined(&ann), joined(&bob)][1];
    let publisher = Publisher::connect_blocking(server.broker()).unwrap();
    let outside = publisher.room("x").with_history(History::new(5000, HOUR));
    let first = outside.broadcast("0").wait().unwrap().stored.unwrap();
    let inside = store(&room, "1");
    let keyed = outside.clone().idempotency_key("key");
    let stored = [keyed.broadcast("2"), keyed.broadcast("never")].map(|sent| sent.wait().unwrap().stored.unwrap());
    assert_eq!(stored[0], stored[1]);
    let last = outside.clone().exclude(["ann"]).broadcast("not to ann").wait().unwrap().stored.unwrap();
    assert!(start.offset < first.offset && first.offset < inside.offset && inside.offset < stored[0].offset);
    ann.expect(["0", "1", "2"]);
    bob.expect(["0", "1", "2", "not to ann"]);
    // What is for some of them is not remembered, nor is what no room remembers.
    for audience in [outside.clone().only(["bob"]), publisher.router("chat").with_history(History::default())] {
        assert_eq!(audience.broadcast("unstored").wait().unwrap(), Published::default());
    }
    ann.expect(["unstored"]);
    bob.expect(["unstored", "unstored"]);
    assert_eq!(send_history(&room, 10, None).position, last);
    // Those that nobody waited for are stored before the publisher ends.
    (3..300).for_each(|n| drop(outside.broadcast(n.to_string())));
    drop(publisher);
    assert_eq!(ann.texts(QUIET), texts(3..300));
    assert!(outside.broadcast("too late").wait().is_err());
}

pub(crate) fn a_publisher_waits_until_the_broker_is_back(server: &mut dyn Server) {
    let publisher = Publisher::connect_blocking(server.broker()).unwrap();
    server.kill();
    // For how long, a test of the publisher says in virtual time.
    let sent = publisher.room("x").with_history(History::default()).broadcast("late");
    server.restart();
    assert!(sent.wait().unwrap().stored.is_some());
}

/// Rounds of what is a matter of chance.
const ROUNDS: usize = 200;

/// A handler broadcasts to its own client's room and then sends to the client, again and again; another node and
/// another client of this one are at it as well.
fn talk(nodes: &[Node; 2], room: &str) {
    let over = AtomicBool::new(false);
    let (mut one, _) = nodes[0].talker(room);
    let (mut other, _) = nodes[0].talker(room);
    std::thread::scope(|scope| {
        let others = nodes[1].room(room);
        let over = &over;
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                send(others.broadcast("of another node"));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let talkers = [("one", &mut one), ("other", &mut other)].map(|(name, socket)| {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let text = format!("{name} {round}");
                    socket.send(tungstenite::Message::text(&*text)).unwrap();
                    let mut said = false;
                    loop {
                        let got = socket.read().unwrap().into_text().unwrap();
                        said |= *got == *format!("said {text}");
                        if *got == *format!("sent {text} true") {
                            break;
                        }
                    }
                    assert!(said, "{name}'s own send overtook its broadcast in round {round}");
                }
            })
        });
        let ended: Vec<_> = talkers.into_iter().map(|talker| talker.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
}

pub(crate) fn what_a_client_is_sent_comes_behind_its_own_broadcast(server: &mut dyn Server) {
    let nodes = nodes::<2>(server);
    let rooms: Vec<Room> = nodes.iter().map(|node| with_history(node, "x")).collect();
    talk(&nodes, "x");
    talk(&nodes, "plain");
    drop(rooms);
}

pub(crate) fn a_publisher_does_not_wait_for_members_that_are_not_sent_anything(server: &mut dyn Server) {
    let [node, other] = nodes(server);
    let (room, elsewhere) = (with_history(&node, "x"), with_history(&other, "x"));
    let begun = Instant::now();
    // Nobody is in the room here; then somebody who is left out; then the broadcast is one that was stored before.
    store_all(&room, 0..20);
    let ann = node.resume("x", "ann", None);
    joined(&ann);
    for _ in 0..20 {
        assert!(send(room.broadcast("not for ann").exclude(["ann"])).stored.is_some());
        assert!(send(elsewhere.broadcast("once").idempotency_key("key")).stored.is_some());
        assert!(send(room.broadcast("once").idempotency_key("key")).stored.is_some());
    }
    // Each that waits in vain takes a second.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    ann.expect(["once"]);
}
