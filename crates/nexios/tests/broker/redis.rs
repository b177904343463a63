//! What only Redis does: passwords, clusters, sentinels, and clients that it cuts off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use nexios::App;
use nexios::broker::{Broker, GapCause};

use crate::contract;
use crate::node::{Node, send};
use crate::servers::{Process, Server, TcpServer, command, free_port};

/// Says something to a server, and waits until it has answered.
fn say(port: u16, commands: &str, answered: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(commands.as_bytes()).unwrap();
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains(answered) {
        let len = stream.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}

/// As it does with one that reads too slowly.
#[test]
fn a_node_that_redis_cuts_off_says_so_and_is_back() {
    let server = TcpServer::redis(&[]);
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("here 0"));
    // Both nodes subscribe: one has a client, the other gets one.
    let _other = here.client("x", "bob");
    say(server.port, "CLIENT KILL TYPE pubsub\r\n", ":2\r\n");
    there.wait_until("declared", |node| node.gaps().iter().any(|gap| gap.cause == GapCause::Reconnect));
    here.wait_until("back", |node| node.metrics().reconnects == 1);
    send(here.room("x").broadcast("here 1"));
    assert_eq!(client.numbered(Duration::from_millis(1500))["here"], [0, 1]);
}

#[test]
fn a_password_is_needed_and_not_shown() {
    let server = TcpServer::redis(&["--requirepass", "secret"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port);
    let error = App::new().broker(url("guess")).start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the broker redis://127.0.0.1:{}: ", server.port)), "{error}");
    assert!(!error.contains("guess"), "{error}");
    drop(App::new().broker(url("secret")).start("127.0.0.1:0").unwrap());
}

struct Cluster(TcpServer);

impl Server for Cluster {
    fn broker(&self) -> Broker {
        Broker::new(format!("redis+cluster://127.0.0.1:{}", self.0.port))
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

fn cluster() -> Cluster {
    let server = TcpServer::redis(&["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]);
    say(server.port, "CLUSTER ADDSLOTSRANGE 0 16383\r\n", "+OK\r\n");
    say(server.port, "CONFIG SET cluster-announce-ip 127.0.0.1\r\n", "+OK\r\n");
    Cluster(server)
}

#[test]
fn a_cluster_carries_messages() {
    contract::a_broadcast_reaches_all_nodes_once_and_in_order(&mut cluster());
    contract::a_node_gets_only_what_it_has_clients_for(&mut cluster());
}

#[test]
fn a_cluster_that_is_killed_comes_back() {
    contract::a_broker_that_is_killed_comes_back_and_the_gap_is_declared(&mut cluster());
}

#[test]
fn sentinels_say_where_the_master_is() {
    let server = TcpServer::redis(&[]);
    let (port, directory) = (free_port(), crate::servers::Directory::new());
    let file = directory.0.join("sentinel.conf");
    std::fs::write(&file, format!("port {port}\nsentinel monitor chat 127.0.0.1 {} 1\n", server.port)).unwrap();
    let start = move || {
        let mut command = command("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null());
        command
    };
    let _sentinel = Process::start(start, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let broker = || Broker::new(format!("redis+sentinel://127.0.0.1:{port}/chat"));
    let (here, there) = (Node::start(broker()), Node::start(broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}
