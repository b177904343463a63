//! Brokers that can be connected to and are of no use: nodes wait for better ones, and say so once.

use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios::broker::{Broker, BrokerError, GapCause, History, Hub, Publisher, Topic};
use parking_lot::Mutex;

use crate::fake_redis::{Act, FakeRedis, is};
use crate::logged::Log;
use crate::node::{Node, send};
use crate::servers::Directory;

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than messages are kept for a broker that is of no use.
const OUTAGE: Duration = Duration::from_secs(12);

/// More than a node makes in an outage, were it to begin each second attempt at the least delay.
const CONNECTIONS_MAX: usize = 16;

fn reconnects(node: &Node) -> usize {
    node.gaps().iter().filter(|gap| gap.cause == GapCause::Reconnect).count()
}

/// Breaks a server for longer than a node is patient, while others publish; then mends it.
fn outage(breaks: impl FnOnce(&FakeRedis), mends: impl FnOnce(&FakeRedis), says: &str) {
    let redis = FakeRedis::start();
    let (log, _listening) = Log::listen();
    let (here, there) = (Node::start(redis.broker()), Node::start(redis.broker()));
    let history = History::new(100, HOUR);
    let (room, _same) = (here.room("x").with_history(history), there.room("x").with_history(history));
    let (ann, bob) = (there.resume("x", "ann", None), there.client("plain", "bob"));
    ann.joined();
    assert!(send(room.broadcast("before")).stored.is_some());
    ann.expect(["before"]);
    let (connections, begun) = (redis.connections(), Instant::now());
    breaks(&redis);
    while begun.elapsed() < OUTAGE {
        send(here.room("plain").broadcast("plain"));
        std::thread::scope(|scope| {
            scope.spawn(|| send(room.broadcast("in vain")));
            std::thread::sleep(Duration::from_millis(200));
        });
    }
    let made = redis.connections() - connections;
    assert!(made <= 2 * CONNECTIONS_MAX, "{says}: {made} connections of two nodes");
    mends(&redis);

    here.wait_until("back", |node| node.metrics().connected);
    here.wait_until("told", |node| reconnects(node) > 0);
    let end = Instant::now() + Duration::from_secs(60);
    while send(room.broadcast("after")).stored.is_none() {
        assert!(Instant::now() < end, "{says}: still nothing is stored");
    }
    drop(bob);
    for node in [&here, &there] {
        assert!(reconnects(node) <= 2, "{says}: {:?}", node.gaps());
    }
    let lines = log.lines_with(says);
    assert!((1..=4).contains(&lines.len()), "{says}: {lines:#?}");
}

#[test]
fn a_server_that_became_a_replica_is_left_alone_until_there_is_a_master() {
    outage(
        |redis| redis.say("REPLICAOF 127.0.0.1 1\r\n"),
        |redis| redis.say("REPLICAOF NO ONE\r\n"),
        "this server is a replica",
    );
}

#[test]
fn a_server_that_only_reads_is_left_alone_until_it_writes() {
    outage(
        |redis| redis.answer(&["EVALSHA"], "-READONLY You can't write against a read only replica."),
        |redis| redis.rule(|_| Act::Pass),
        "this server is a replica",
    );
}

#[test]
fn a_server_that_has_joined_a_cluster_is_left_alone_and_the_cluster_named() {
    outage(
        |redis| redis.answer(&["EVALSHA", "SPUBLISH", "SSUBSCRIBE"], "-MOVED 3999 127.0.0.1:6381"),
        |redis| redis.rule(|_| Act::Pass),
        "redis+cluster://",
    );
}

#[test]
fn a_server_that_wants_another_password_is_left_alone_until_it_does_not() {
    outage(
        |redis| {
            redis.answer(&["HELLO", "AUTH", "SPUBLISH", "EVALSHA"], "-NOAUTH Authentication required.");
            redis.cut();
        },
        |redis| redis.rule(|_| Act::Pass),
        "Authentication required",
    );
}

#[test]
fn a_publisher_hears_in_time_that_no_server_writes() {
    let redis = FakeRedis::start();
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    let (room, plain) = (publisher.room("x").with_history(History::new(100, HOUR)), publisher.room("y"));
    redis.say("REPLICAOF 127.0.0.1 1\r\n");
    redis.cut();
    redis.wait_until_connected(1);
    let begun = Instant::now();
    for sent in [room.broadcast("stored"), plain.broadcast("plain")] {
        match sent.wait_for(Duration::from_secs(60)) {
            Err(BrokerError::Refused(reason)) => assert!(reason.contains("replica"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(8), "{:?}", begun.elapsed());
    redis.say("REPLICAOF NO ONE\r\n");
    let end = Instant::now() + Duration::from_secs(60);
    while room.broadcast("again").wait_for(Duration::from_secs(60)).is_err() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_room_that_may_not_be_subscribed_to_takes_no_other_along() {
    let redis = FakeRedis::start();
    let (here, there) = (Node::start(redis.real()), Node::start(redis.broker()));
    redis.rule(|command| match is(command, "SSUBSCRIBE") && command.iter().any(|word| word.ends_with(b"bad")) {
        true => Act::Answer("-NOPERM No permissions to access a channel"),
        false => Act::Pass,
    });
    let (bad, good) = (there.client("bad", "ann"), there.client("good", "bob"));
    there.wait_until("told", |node| {
        node.gaps().iter().any(|gap| gap.topic == Some(Topic::Room("bad".into())) && gap.cause == GapCause::Late)
    });
    send(here.room("good").broadcast("hello"));
    good.expect(["hello"]);
    assert_eq!(there.metrics().reconnects, 0);
    drop(bad);
}

/// Ends connections as soon as they are there, for as long as a client would see a storm.
fn cut_for_a_while(node: &Node, cut: impl Fn(), connections: impl Fn() -> usize) {
    let (before, begun) = (connections(), Instant::now());
    while begun.elapsed() < Duration::from_secs(8) {
        cut();
        std::thread::sleep(Duration::from_millis(100));
    }
    let made = connections() - before;
    assert!(made <= CONNECTIONS_MAX, "{made} connections");
    node.wait_until("back", |node| node.metrics().connected && reconnects(node) > 0);
    // The last of them is announced once it has lived for a while.
    std::thread::sleep(Duration::from_secs(5));
    assert!(reconnects(node) <= 2, "{:?}", node.gaps());
}

#[test]
fn a_redis_that_cuts_each_connection_is_not_connected_to_in_a_storm() {
    let redis = FakeRedis::start();
    let node = Node::start(redis.broker());
    let client = node.client("x", "ann");
    cut_for_a_while(&node, || redis.cut(), || redis.connections());
    send(Node::start(redis.real()).room("x").broadcast("hello"));
    client.expect(["hello"]);
}

#[test]
fn what_cuts_each_connection_in_the_place_of_a_hub_is_not_connected_to_in_a_storm() {
    let directory = Directory::new();
    let (real, path) = (directory.0.join("real.sock"), directory.0.join("hub.sock"));
    let _hub = Hub::bind(&real).unwrap().start().unwrap();
    let (listener, at) = (UnixListener::bind(&path).unwrap(), real.clone());
    let open = Arc::new(Mutex::new((0, Vec::<UnixStream>::new())));
    let accepting = open.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, hub) = (client.unwrap(), UnixStream::connect(&at).unwrap());
            let mut open = accepting.lock();
            open.0 += 1;
            open.1.extend([client.try_clone().unwrap(), hub.try_clone().unwrap()]);
            for (mut from, mut to) in [(client.try_clone().unwrap(), hub.try_clone().unwrap()), (hub, client)] {
                std::thread::spawn(move || {
                    // Whatever is wrong here ends the connection.
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    let node = Node::start(Broker::new(format!("unix:{}", path.display())));
    let client = node.client("x", "ann");
    let cut = || open.lock().1.drain(..).for_each(|end| _ = end.shutdown(Shutdown::Both));
    cut_for_a_while(&node, cut, || open.lock().0);
    send(Node::start(Broker::new(format!("unix:{}", real.display()))).room("x").broadcast("hello"));
    client.expect(["hello"]);
}
