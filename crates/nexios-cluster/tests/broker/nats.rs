//! What only NATS does: users, and a limit on messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexios::App;
use nexios::broker::{Broker, BrokerError, GapCause, History, Publisher, Topic};

use crate::node::{Node, send};
use crate::servers::{Server, TcpServer, free_port};

#[test]
fn a_user_is_needed_and_the_password_not_shown() {
    let server = TcpServer::nats(&["--user", "ann", "--pass", "secret"]);
    let url = |password: &str| format!("nats://ann:{password}@127.0.0.1:{}", server.port);
    let error = App::new().broker(url("guess")).start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the broker nats://127.0.0.1:{}: ", server.port)), "{error}");
    assert!(!error.contains("guess"), "{error}");
    let (here, there) = (Node::start(Broker::new(url("secret"))), Node::start(Broker::new(url("secret"))));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}

#[test]
fn a_message_that_is_too_long_for_the_server_is_not_accepted_and_declared() {
    let server = TcpServer::nats(&[]);
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let client = there.client("x", "ann");
    assert!(send(here.room("x").broadcast("first")).accepted);
    assert!(!send(here.room("x").broadcast("x".repeat(1 << 20))).accepted);
    assert!(send(here.room("x").broadcast("last")).accepted);
    client.expect(["first", "last"]);
    assert_eq!((there.missed(), here.metrics().refused), (1, 1));
}

/// Three servers that keep streams together.
fn cluster() -> [TcpServer; 3] {
    let ports: [u16; 3] = std::array::from_fn(|_| free_port());
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    ports.map(|route| {
        let routes = routes.clone();
        TcpServer::start("nats", "nats-server", move |command, port, directory| {
            command.args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", directory]);
            command.args(["--cluster_name", "chat", "--server_name", &format!("at-{route}"), "--routes", &routes]);
            command.arg("--cluster").arg(format!("nats://127.0.0.1:{route}"));
        })
    })
}

#[test]
fn what_three_servers_keep_outlives_one_of_them() {
    let mut servers = cluster();
    let hosts = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port)).join(",");
    // The servers elect a leader before they answer anything about streams.
    let broker = || Broker::new(format!("nats://{hosts}?replicas=3")).connect_timeout(Duration::from_secs(60));
    let (here, there) = (Node::start(broker()), Node::start(broker()));
    let history = || History::new(100, Duration::from_secs(600));
    let (room, _same) = (here.room("log").with_history(history()), there.room("log").with_history(history()));
    let end = Instant::now() + Duration::from_secs(60);
    while send(room.broadcast("0")).stored.is_none() {
        assert!(Instant::now() < end, "still nothing is stored: {:?}", here.metrics());
    }
    let member = there.resume("log", "ann", None);
    let (_, _, before) = member.joined();
    for n in 1..4 {
        assert!(send(room.broadcast(n.to_string())).replicated >= 1);
    }
    servers[0].kill();
    for n in 4..8 {
        assert!(send(room.broadcast(n.to_string())).accepted);
    }
    let all: Vec<String> = (1..8).map(|n: u32| n.to_string()).collect();
    assert_eq!((1..8).map(|_| member.next()).collect::<Vec<_>>(), all);
    let (missed, recovered, _) = there.resume("log", "bob", Some(before)).joined();
    assert_eq!((missed, recovered), (all, true));
}

/// A server with a user who may not do everything.
fn with_permissions(permissions: &'static str) -> TcpServer {
    TcpServer::start("nats", "nats-server", move |command, port, directory| {
        let file = format!("{directory}/nats.conf");
        let user = format!("{{user: ann, password: secret, permissions: {{{permissions}}}}}");
        let jetstream = format!("jetstream {{store_dir: \"{directory}\"}}");
        std::fs::write(&file, format!("{jetstream}\nauthorization {{users: [{user}, {{user: bob, password: x}}]}}\n"))
            .unwrap();
        command.args(["--addr", "127.0.0.1", "--port", port, "--config", &file]);
    })
}

fn user(server: &TcpServer, user: &str) -> Broker {
    Broker::new(format!("nats://{user}@127.0.0.1:{}", server.port))
}

#[test]
fn what_a_user_may_not_publish_is_refused_and_takes_nothing_along() {
    let server = with_permissions("publish: {deny: [\"nexios-room-bad\"]}");
    let there = Node::start(user(&server, "bob:x"));
    let ann = there.client("good", "ann");
    let publisher = Publisher::connect_blocking(user(&server, "ann:secret")).unwrap();
    let rooms = [publisher.room("good"), publisher.room("bad")];
    let sent: Vec<_> = (0..100).map(|n| (n % 2, rooms[n % 2].broadcast(format!("outside {}", n / 2)))).collect();
    for (is_bad, sent) in sent {
        match (is_bad, sent.wait_for(Duration::from_secs(60))) {
            (0, Ok(_)) => {}
            (1, Err(BrokerError::Refused(reason))) => assert!(reason.contains("permissions"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(ann.numbered(Duration::from_millis(700))["outside"].iter().copied().eq(0..50));
}

#[test]
fn who_may_not_use_jetstream_stores_nothing_and_sends_the_rest() {
    let server = with_permissions("publish: {deny: [\"$JS.>\"]}");
    let there = Node::start(user(&server, "bob:x"));
    let client = there.client("x", "ann");
    let publisher = Publisher::connect_blocking(user(&server, "ann:secret")).unwrap();
    let stored = publisher.room("log").with_history(History::new(10, Duration::from_secs(60)));
    match stored.broadcast("in vain").wait_for(Duration::from_secs(60)) {
        Err(BrokerError::Refused(reason)) => assert!(reason.contains("permissions"), "{reason}"),
        other => panic!("{other:?}"),
    }
    publisher.room("x").broadcast("hello").wait_for(Duration::from_secs(60)).unwrap();
    client.expect(["hello"]);
}

#[test]
fn who_may_not_subscribe_to_a_room_is_told_of_a_gap_and_the_rest_goes_on() {
    let server = with_permissions("subscribe: {deny: [\"nexios-room-bad\"]}");
    let (here, there) = (Node::start(user(&server, "bob:x")), Node::start(user(&server, "ann:secret")));
    let (_bad, good) = (there.client("bad", "ann"), there.client("good", "bob"));
    there.wait_until("told", |node| {
        node.gaps().iter().any(|gap| gap.topic == Some(Topic::Room("bad".into())) && gap.cause == GapCause::Late)
    });
    send(here.room("good").broadcast("hello"));
    good.expect(["hello"]);
    assert_eq!(there.metrics().reconnects, 0);
}

#[test]
fn who_may_not_ask_the_server_anything_is_refused_at_the_start() {
    let server = with_permissions("publish: {deny: [\"nexios-nobody.>\"]}");
    let error = App::new().broker(user(&server, "ann:secret")).start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.contains("permissions violation") && error.contains("nexios-nobody"), "{error}");
}

#[test]
fn a_jetstream_that_is_off_after_a_restart_is_named_in_time() {
    let is_off = Arc::new(AtomicBool::new(false));
    let off = is_off.clone();
    let mut server = TcpServer::start("nats", "nats-server", move |command, port, directory| {
        command.args(["--addr", "127.0.0.1", "--port", port]);
        if !off.load(Ordering::Relaxed) {
            command.args(["--jetstream", "--store_dir", directory]);
        }
    });
    let publisher = Publisher::connect_blocking(server.broker()).unwrap();
    let room = publisher.room("log").with_history(History::new(10, Duration::from_secs(60)));
    assert!(room.broadcast("before").wait_for(Duration::from_secs(60)).unwrap().stored.is_some());
    server.kill();
    is_off.store(true, Ordering::Relaxed);
    server.restart();
    match room.broadcast("in vain").wait_for(Duration::from_secs(60)) {
        Err(BrokerError::Refused(reason) | BrokerError::Unconfirmed(reason)) => {
            assert!(reason.contains("--jetstream"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    publisher.room("x").broadcast("plain").wait_for(Duration::from_secs(60)).unwrap();
}
