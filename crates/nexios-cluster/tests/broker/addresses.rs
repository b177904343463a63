//! Addresses of brokers: secrets, parameters, sockets, sentinels and databases, as servers see them.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nexios::App;
use nexios::broker::{Broker, History};

use crate::node::{Node, send};
use crate::redis::{Sentinel, say};
use crate::servers::{Directory, Process, Server, TcpServer, command};

/// Passwords, and how they may be written.
const PASSWORDS: [(&str, &str); 4] =
    [("s@c=r:et x", "s%40c%3Dr%3Aet%20x"), ("s@c=r:et x", "s@c=r:et x"), ("a=:@b", "a=:@b"), ("100%", "100%25")];

fn carries(broker: impl Fn() -> Broker) {
    let (here, there) = (Node::start(broker()), Node::start(broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}

fn error(url: &str) -> String {
    App::new()
        .broker(Broker::new(url).connect_timeout(Duration::from_secs(1)))
        .start("127.0.0.1:0")
        .unwrap_err()
        .to_string()
}

#[test]
fn passwords_of_nats_may_hold_anything() {
    for (password, written) in PASSWORDS {
        let server = TcpServer::start("nats", "nats-server", move |command, port, _| {
            command.args(["--addr", "127.0.0.1", "--port", port, "--user", "ann b", "--pass", password]);
        });
        carries(|| Broker::new(format!("nats://ann%20b:{written}@127.0.0.1:{}", server.port)));
    }
    let server = TcpServer::nats(&["--auth", "to:k=e@n"]);
    carries(|| Broker::new(format!("nats://to%3Ak=e@n@127.0.0.1:{}", server.port)));
}

#[test]
fn passwords_of_redis_may_hold_anything() {
    for (password, written) in PASSWORDS {
        let server = TcpServer::start("redis", "redis-server", move |command, port, directory| {
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", port, "--dir", directory]);
            command.args(["--requirepass", password]);
        });
        carries(|| Broker::new(format!("valkey://:{written}@127.0.0.1:{}", server.port)));
    }
}

#[test]
fn what_is_wrong_with_an_address_is_said_at_the_start_without_a_secret() {
    for (url, says) in [
        ("redis://h:1?replica=1", "unknown parameter \"replica\": there are db, replicas, tls_ca, tls_cert, tls_key"),
        ("redis://h:1?protocol=resp3&replicas=1", "unknown parameter \"protocol\""),
        ("redis+cluster://h:1?replicas=1", "unknown parameter \"replicas\""),
        ("redis+sentinel://h:1/chat?timeout=1", "db, replicas, sentinel_user, sentinel_password, tls_ca"),
        ("redis+unix:///run/x?tls_ca=1", "unknown parameter \"tls_ca\": there are db, replicas"),
        ("nats://h:1?replica=3", "unknown parameter \"replica\": there are credentials, replicas, tls_ca"),
        ("unix:/run/hub.sock?db=1", "redis+unix:///path/to/socket?db=1"),
        ("redis://h:1?password=QSECRETQ", "user:password@host"),
        ("redis://h:1?pasword=QSECRETQ", "unknown parameter \"pasword\""),
        ("nats://h:1?token=QSECRETQ", "unknown parameter \"token\""),
        ("redis://ann:QSECRETQ", "the port of \"ann\" is not a number"),
        ("redis://:a?QSECRETQ@h:1", "a ? in a password is written %3F"),
        ("redis://:QSECRETQ@127.0.0.1:1", "cannot reach the broker redis://127.0.0.1:1"),
        ("nats://QSECRETQ@127.0.0.1:1", "cannot reach the broker nats://127.0.0.1:1"),
        ("redis+sentinel://127.0.0.1:1/chat?sentinel_password=QSECRETQ", "sentinel_password=***"),
    ] {
        let error = error(url);
        assert!(error.contains(says), "{url}: {error}");
        assert!(!error.contains("QSECRETQ"), "{error}");
    }
}

#[test]
fn redis_is_reached_by_a_unix_socket() {
    let directory = Directory::new();
    let (path, at) = (directory.0.join("redis.sock"), directory.0.join("redis.sock"));
    let up = path.clone();
    let _server = Process::start(
        move || {
            let mut command = command("redis-server");
            command.args(["--port", "0", "--save", "", "--requirepass", "se cret", "--unixsocket"]).arg(&at);
            command
        },
        move || UnixStream::connect(&up).is_ok(),
    );
    for scheme in ["redis+unix", "valkey+unix", "redis+socket"] {
        carries(|| Broker::new(format!("{scheme}://:se%20cret@{}?db=1", path.display())));
    }
}

#[test]
fn databases_do_not_mix_neither_plain_rooms_nor_those_that_remember() {
    let server = TcpServer::redis(&[]);
    let node = |db: u32| Node::start(Broker::new(format!("{}/{db}", server.url())));
    let nodes = [node(0), node(0), node(1), node(1)];
    let history = || History::new(100, Duration::from_secs(60));
    let logs: Vec<_> = nodes.iter().map(|node| node.room("log").with_history(history())).collect();
    let members = [nodes[1].client("x", "ann"), nodes[3].client("x", "ann")];
    let readers = [nodes[1].resume("log", "bob", None), nodes[3].resume("log", "bob", None)];
    readers.iter().for_each(|reader| _ = reader.joined());
    for (at, text) in [(0, "of 0"), (2, "of 1")] {
        send(nodes[at].room("x").broadcast(text));
        assert_eq!(send(logs[at].broadcast(text)).stored.unwrap().offset, 1);
    }
    for (at, text) in ["of 0", "of 1"].into_iter().enumerate() {
        members[at].expect([text]);
        readers[at].expect([text]);
        members[at].expect_nothing();
        readers[at].expect_nothing();
    }
}

#[test]
fn sentinels_and_the_master_have_passwords_and_a_database_of_their_own() {
    let server = TcpServer::redis(&["--requirepass", "master"]);
    let sentinel = Sentinel::with(server.port, "requirepass \"watch er\"\nsentinel auth-pass chat master\n");
    let url = |password: &str| {
        format!("redis+sentinel://:master@127.0.0.1:{}/chat/3?sentinel_password={password}", sentinel.port)
    };
    carries(|| Broker::new(url("watch%20er")));
    let (here, log) = (Node::start(Broker::new(url("watch%20er"))), History::new(10, Duration::from_secs(60)));
    assert!(send(here.room("log").with_history(log).broadcast("x")).stored.is_some());
    say(server.port, "AUTH master\r\nINFO keyspace\r\n", "db3:keys");
    assert!(error(&url("guess")).contains("cannot reach"));
    let open = Sentinel::with(server.port, "sentinel auth-pass chat master\n");
    carries(|| Broker::new(format!("redis+sentinel://:master@127.0.0.1:{}/chat?sentinel_password=", open.port)));
    assert!(TcpStream::connect(("127.0.0.1", open.port)).is_ok());
}
