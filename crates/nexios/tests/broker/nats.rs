//! What only NATS does: users, and a limit on messages.

use std::time::{Duration, Instant};

use nexios::App;
use nexios::broker::{Broker, History};

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
    let (room, _same) = (here.room("log").remembering(history()), there.room("log").remembering(history()));
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
