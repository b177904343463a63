//! What holds with every broker.

use std::time::{Duration, Instant};

use nexios::broker::{GapCause, Publisher, Topic};
use nexios::{Message, Room};

use crate::node::{Client, Node, send};
use crate::servers::Server;

/// A mark tells of a lost tail within a second.
const QUIET: Duration = Duration::from_millis(1500);
/// A machine with much else to do may be silent for longer than that in the middle.
const ACCOUNTED_WITHIN: Duration = Duration::from_secs(60);

/// Delivered = published − declared; order and duplicates were checked by the client. A node that was cut off may have
/// missed the mark behind the last message, and knows only that it was away: another message shows how much it missed.
fn check(node: &Node, client: &Client, sender: &str, mut published: u64, room: Option<&Room>) -> u64 {
    let end = Instant::now() + ACCOUNTED_WITHIN;
    let mut reconnects = 0;
    let mut numbers = client.numbered(QUIET).remove(sender).unwrap_or_default();
    while numbers.len() as u64 + node.missed() < published && Instant::now() < end {
        let metrics = node.metrics();
        if let Some(room) = room.filter(|_| metrics.connected && metrics.reconnects > reconnects) {
            reconnects = metrics.reconnects;
            send(room.broadcast(format!("{sender} {published}")));
            published += 1;
        }
        numbers.extend(client.numbered(QUIET).remove(sender).unwrap_or_default());
    }
    assert!(numbers.is_sorted_by(|one, other| one < other));
    let lost = published - numbers.len() as u64;
    assert_eq!(node.missed(), lost, "declared and lost differ: {:?}, {:?}", node.gaps(), node.metrics());
    lost
}

pub(crate) fn a_broadcast_reaches_all_nodes_once_and_in_order(server: &mut dyn Server) {
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(server.broker())).collect();
    let clients: Vec<Client> = nodes.iter().map(|node| node.client("x", "ann")).collect();
    std::thread::scope(|scope| {
        for (at, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                let room = node.room("x");
                (0..300).for_each(|n| assert!(send(room.broadcast(format!("{at} {n}"))).accepted));
            });
        }
    });
    for client in &clients {
        let all = client.numbered(QUIET);
        assert_eq!(all.len(), 3);
        assert!(all.values().all(|numbers| numbers.iter().copied().eq(0..300)), "{all:?}");
    }
    for audience in [&nodes[0].app, &nodes[1].chat] {
        assert_eq!(send(audience.broadcast("to all")).count, 1);
        clients.iter().for_each(|client| client.expect(["to all"]));
    }
    clients.iter().for_each(Client::expect_nothing);
    assert!(nodes.iter().all(|node| node.gaps().is_empty()));
}

pub(crate) fn whatever_a_broadcast_says_is_carried(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let (ann, bob) = (there.client("{a.b.*>} ü", "ann"), there.client("{a.b.*>} ü", "bob"));
    let room = here.room("{a.b.*>} ü");
    for message in [Message::from("täxt"), Message::from(&[0, 255, 1][..]), Message::from("x".repeat(200_000))] {
        send(room.broadcast(message.clone()));
        assert_eq!((ann.message(), bob.message()), (message.clone(), message));
    }
    send(room.broadcast("not for ann").exclude(["ann"]));
    send(room.broadcast("not for bob").exclude([bob.id.as_str()]).key("key").compress(false));
    bob.expect(["not for ann"]);
    ann.expect(["not for bob"]);
    ann.expect_nothing();
    bob.expect_nothing();
}

pub(crate) fn clients_that_are_not_here_are_looked_for_elsewhere(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let (here_ann, there_ann, bob) = (here.client("x", "ann"), there.client("x", "ann"), there.client("y", "bob"));
    // Two tabs of one user, on two nodes.
    let outcome = send(here.app.broadcast_to(["ann"], "tabs"));
    assert_eq!((outcome.count, outcome.accepted, outcome.unknown.len(), outcome.forwarded.len()), (1, true, 0, 0));
    here_ann.expect(["tabs"]);
    there_ann.expect(["tabs"]);
    let outcome = send(here.app.broadcast_to(["bob", bob.id.as_str(), "nobody"], "to bob"));
    assert_eq!((outcome.count, outcome.unknown.len()), (0, 0));
    assert_eq!(outcome.forwarded, ["bob", bob.id.as_str(), "nobody"]);
    bob.expect(["to bob"]);
    // The audience counts there, too.
    send(here.room("x").broadcast_to(["bob", "ann"], "in x"));
    there_ann.expect(["in x"]);
    bob.expect_nothing();
    there_ann.expect_nothing();
}

pub(crate) fn what_is_sent_after_a_join_arrives(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    for n in 0..30 {
        let room = format!("room {n}");
        let client = there.client(&room, "ann");
        assert!(send(here.room(&room).broadcast("welcome")).accepted);
        client.expect(["welcome"]);
    }
}

pub(crate) fn a_node_gets_only_what_it_has_clients_for(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let mut client = there.client("x", "ann");
    send(here.room("elsewhere").broadcast("not here"));
    send(here.room("x").broadcast("here"));
    client.expect(["here"]);
    assert_eq!((there.metrics().received, here.metrics().received), (1, 0));
    client.leave();
    // The subscription lingers; what comes behind a message of the room shows whether the message has come.
    let comes = || {
        let before = there.metrics().received;
        send(here.room("x").broadcast("nobody is here"));
        send(here.chat.broadcast("to the router"));
        client.expect(["to the router"]);
        there.metrics().received - before > 1
    };
    let end = Instant::now() + ACCOUNTED_WITHIN;
    while comes() || comes() {
        assert!(Instant::now() < end, "the room is still subscribed to");
        std::thread::sleep(Duration::from_millis(50));
    }
    let again = there.client("x", "bob");
    send(here.room("x").broadcast("here again"));
    again.expect(["here again"]);
    assert!(there.gaps().is_empty(), "{:?}", there.gaps());
}

pub(crate) fn a_burst_is_delivered_or_declared(server: &mut dyn Server) {
    const BURST: u64 = 50_000;
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker().incoming_bytes_max(1 << 20)));
    let client = there.client("x", "ann");
    let room = here.room("x");
    send(room.broadcast("here 0"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let padding = "x".repeat(200);
    runtime.block_on(async {
        for n in 1..BURST {
            room.broadcast(format!("here {n} {padding}")).await;
        }
    });
    let lost = check(&there, &client, "here", BURST, Some(&room));
    let causes: Vec<_> = there.gaps().iter().map(|gap| gap.cause).collect();
    println!("{lost} of {BURST} lost, {} gaps: {causes:?}", causes.len());
}

pub(crate) fn a_broker_that_is_killed_comes_back_and_the_gap_is_declared(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let (local, client) = (here.client("x", "ann"), there.client("x", "bob"));
    let room = here.room("x");
    let mut published = 0;
    let mut publish_for = |duration: Duration| {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            send(room.broadcast(format!("here {published}")));
            published += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    publish_for(Duration::from_millis(200));
    server.kill();
    publish_for(Duration::from_millis(500));
    there.wait_until("disconnected", |node| !node.metrics().connected);
    server.restart();
    publish_for(Duration::from_millis(200));
    for node in [&here, &there] {
        node.wait_until("reconnected", |node| node.metrics().connected && node.metrics().reconnects > 0);
        node.wait_until("declared", |node| {
            node.gaps().iter().any(|gap| gap.topic.is_none() && gap.cause == GapCause::Reconnect)
        });
    }
    publish_for(Duration::from_millis(200));
    assert_eq!(local.numbered(QUIET)["here"].len(), published as usize, "local delivery");
    let lost = check(&there, &client, "here", published, Some(&room));
    println!("{lost} of {published} lost, gaps: {:?}", there.gaps());
    assert!(there.gaps().iter().all(|gap| gap.topic.as_ref().is_none_or(|topic| *topic == Topic::Room("x".into()))));
}

pub(crate) fn local_delivery_waits_for_nobody(server: &mut dyn Server) {
    let node = Node::start(server.broker().outgoing_messages_max(10));
    let client = node.client("x", "ann");
    server.kill();
    node.wait_until("disconnected", |node| !node.metrics().connected);
    let begun = Instant::now();
    let outcomes: Vec<bool> = (0..100).map(|n| send(node.room("x").broadcast(format!("here {n}"))).accepted).collect();
    assert_eq!(client.numbered(Duration::from_millis(100))["here"].len(), 100);
    let other = node.client("y", "bob");
    assert!(begun.elapsed() < Duration::from_secs(2));
    let accepted = outcomes.iter().filter(|accepted| **accepted).count();
    // The queue may also have a mark, or what the node says of itself.
    assert!((8..=10).contains(&accepted), "what does not fit is said: {accepted}");
    assert_eq!(node.metrics().refused, 100 - accepted as u64);
    server.restart();
    node.wait_until("reconnected", |node| node.metrics().connected);
    drop(other);
}

/// Sends 20 messages in a second while the broker stands still, and some after.
fn publish_around_a_freeze(server: &mut dyn Server, freeze: Duration) -> (Node, Client, u64) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let (local, client) = (here.client("x", "ann"), there.client("x", "bob"));
    let room = here.room("x");
    let mut published = 0;
    std::thread::scope(|scope| {
        let frozen = scope.spawn(|| server.freeze(freeze));
        while !frozen.is_finished() {
            let begun = Instant::now();
            send(room.broadcast(format!("here {published}")));
            assert!(begun.elapsed() < Duration::from_millis(500), "local delivery was held up");
            published += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for node in [&here, &there] {
        node.wait_until("connected", |node| node.metrics().connected);
    }
    for _ in 0..20 {
        send(room.broadcast(format!("here {published}")));
        published += 1;
    }
    assert_eq!(local.numbered(QUIET)["here"].len(), published as usize, "local delivery");
    (there, client, published)
}

pub(crate) fn a_broker_that_stands_still_loses_nothing(server: &mut dyn Server) {
    let (there, client, published) = publish_around_a_freeze(server, Duration::from_secs(2));
    assert_eq!(check(&there, &client, "here", published, None), 0);
    assert!(there.gaps().is_empty(), "{:?}", there.gaps());
}

pub(crate) fn a_broker_that_stands_still_for_long_holds_up_nobody(server: &mut dyn Server) {
    let (there, client, published) = publish_around_a_freeze(server, Duration::from_secs(9));
    let lost = check(&there, &client, "here", published, None);
    println!("{lost} of {published} lost, gaps: {:?}", there.gaps());
}

pub(crate) fn a_publisher_reaches_everybody_without_serving(server: &mut dyn Server) {
    let (one, other) = (Node::start(server.broker()), Node::start(server.broker()));
    let (ann, bob) = (one.client("x", "ann"), other.client("y", "bob"));
    let publisher = Publisher::connect_blocking(server.broker()).unwrap();
    let router = publisher.router("chat");
    for audience in [publisher.app(), router.clone()] {
        audience.broadcast("to all").wait().unwrap();
        ann.expect(["to all"]);
        bob.expect(["to all"]);
    }
    publisher.room("x").broadcast(&[1, 2, 3][..]).wait().unwrap();
    assert_eq!(ann.message(), Message::from(&[1, 2, 3][..]));
    publisher.clients(["bob"]).broadcast("to bob").wait().unwrap();
    router.exclude(["ann"]).broadcast("not to ann").wait().unwrap();
    bob.expect(["to bob", "not to ann"]);
    // Those that nobody waited for are sent before the publisher ends.
    let room = publisher.room("x");
    (0..1000).for_each(|n| drop(room.broadcast(format!("publisher {n}"))));
    drop(publisher);
    assert!(ann.numbered(QUIET)["publisher"].iter().copied().eq(0..1000));
    assert!(room.broadcast("too late").wait().is_err());
    assert!(one.gaps().is_empty() && other.gaps().is_empty());
}
