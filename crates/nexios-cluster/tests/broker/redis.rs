//! What only Redis does: passwords, clusters, sentinels, and clients that it cuts off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nexios::App;
use nexios::broker::{Broker, GapCause, History};

use crate::contract;
use crate::node::{Node, send};
use crate::servers::{Directory, Process, Server, TcpServer, command, free_port};

fn ask(port: u16, commands: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(commands.as_bytes()).unwrap();
    stream
}

/// Says something to a server, and waits until it has answered.
pub(crate) fn say(port: u16, commands: &str, answered: &str) {
    let mut stream = ask(port, commands);
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains(answered) {
        let len = stream.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}

/// Says it again and again until the answer has this in it.
fn ask_until(port: u16, command: &str, answered: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let mut buffer = [0; 4096];
        let len = ask(port, command).read(&mut buffer).unwrap();
        let answer = String::from_utf8_lossy(&buffer[..len]);
        if answer.contains(answered) {
            return;
        }
        assert!(Instant::now() < end, "{command}: {answer}");
        std::thread::sleep(Duration::from_millis(50));
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

/// One server that has all slots, and writes each change down.
pub(crate) struct Cluster(TcpServer);

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

    fn keeps_history(&self) -> bool {
        true
    }
}

/// One that is ready for everything.
pub(crate) fn cluster() -> Cluster {
    let cluster = new_cluster();
    ask_until(cluster.0.port, "CLUSTER INFO\r\n", "cluster_state:ok");
    cluster
}

/// It takes subscriptions and messages, but runs no scripts for two seconds.
fn new_cluster() -> Cluster {
    let server = TcpServer::redis(&[
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
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
fn who_is_let_in_before_its_room_can_be_read_gets_what_comes_from_then_on() {
    let cluster = new_cluster();
    let (here, there) = (Node::start(cluster.broker()), Node::start(cluster.broker()));
    let history = || History::new(100, Duration::from_secs(60));
    let (room, _same) = (here.room("x").with_history(history()), there.room("x").with_history(history()));
    let client = there.resume("x", "ann", None);
    client.joined();
    for n in 0..5 {
        assert!(send(room.broadcast(n.to_string())).accepted);
    }
    client.expect(["0", "1", "2", "3", "4"]);
}

#[test]
fn an_address_of_another_kind_is_named_at_the_start() {
    let masters = [(0, 8191), (8192, 16383)].map(|(first, last)| {
        let server = TcpServer::start("redis", "redis-server", |command, port, directory| {
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", port, "--dir", directory]);
            command.args(["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
        });
        say(server.port, &format!("CLUSTER ADDSLOTSRANGE {first} {last}\r\n"), "+OK\r\n");
        server
    });
    let mut buffer = [0; 1024];
    let len = ask(masters[1].port, "CLUSTER NODES\r\n").read(&mut buffer).unwrap();
    let nodes = String::from_utf8_lossy(&buffer[..len]).into_owned();
    let bus = nodes.split('@').nth(1).and_then(|rest| rest.split([' ', ',']).next()).unwrap();
    say(masters[0].port, &format!("CLUSTER MEET 127.0.0.1 {} {bus}\r\n", masters[1].port), "+OK\r\n");
    ask_until(masters[0].port, "CLUSTER INFO\r\n", "cluster_size:2");
    let alone = TcpServer::redis(&[]);
    let sentinel = Sentinel::of(alone.port);
    for (url, says) in [
        (masters[0].url(), "this is a cluster, use redis+cluster://"),
        (format!("redis://127.0.0.1:{}", sentinel.port), "this is a sentinel, use redis+sentinel://"),
        (format!("redis+cluster://127.0.0.1:{}", alone.port), "cluster support disabled"),
        (format!("redis+sentinel://127.0.0.1:{}/chat", alone.port), "cannot reach the broker"),
    ] {
        let broker = Broker::new(&url).connect_timeout(Duration::from_secs(2));
        let error = App::new().broker(broker).start("127.0.0.1:0").unwrap_err().to_string();
        assert!(error.contains(says), "{url}: {error}");
    }
}

/// As it does when the slot of a channel moves to another server.
#[test]
fn a_subscription_that_a_cluster_has_ended_is_made_again() {
    let cluster = cluster();
    let (here, there) = (Node::start(cluster.broker()), Node::start(cluster.broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("here 0"));
    client.expect(["here 0"]);
    let mut buffer = [0; 64];
    let len = ask(cluster.0.port, "CLUSTER KEYSLOT nexios-room-x\r\n").read(&mut buffer).unwrap();
    let slot = std::str::from_utf8(&buffer[1..len]).unwrap().trim();
    say(cluster.0.port, &format!("CLUSTER DELSLOTS {slot}\r\nCLUSTER ADDSLOTS {slot}\r\n"), "+OK\r\n+OK\r\n");
    there.wait_until("declared", |node| node.gaps().iter().any(|gap| gap.cause == GapCause::Reconnect));
    send(here.room("x").broadcast("here 1"));
    client.expect(["here 1"]);
}

#[test]
fn a_cluster_that_is_killed_comes_back() {
    contract::a_broker_that_is_killed_comes_back_and_the_gap_is_declared(&mut cluster());
}

/// Watches a master by itself, and puts its replica in its place once it is told that the master is down for too long.
pub(crate) struct Sentinel {
    pub(crate) port: u16,
    _process: Process,
    _directory: Directory,
}

impl Sentinel {
    fn of(master: u16) -> Self {
        Sentinel::with(master, "")
    }

    /// One with more settings.
    pub(crate) fn with(master: u16, more: &str) -> Self {
        let (port, directory) = (free_port(), Directory::new());
        let file = directory.0.join("sentinel.conf");
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nsentinel monitor chat 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds chat 600000\nsentinel failover-timeout chat 2000\n{more}"
        );
        std::fs::write(&file, settings).unwrap();
        let start = move || {
            let mut command = command("redis-server");
            command.arg(&file).arg("--sentinel").stdout(Stdio::null());
            command
        };
        let process = Process::start(start, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Sentinel { port, _process: process, _directory: directory }
    }

    /// From now on half a second without an answer is too long. Before, on a machine with much else to do, a master that
    /// lives would be replaced, and what it has stored since would go with it.
    fn lose_patience(&self) {
        say(self.port, "SENTINEL SET chat down-after-milliseconds 500\r\n", "+OK\r\n");
    }

    fn broker(&self) -> Broker {
        Broker::new(format!("redis+sentinel://127.0.0.1:{}/chat", self.port))
    }
}

#[test]
fn sentinels_say_where_the_master_is() {
    let server = TcpServer::redis(&[]);
    let sentinel = Sentinel::of(server.port);
    let (here, there) = (Node::start(sentinel.broker()), Node::start(sentinel.broker()));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}

#[test]
fn after_a_failover_nodes_are_at_the_new_master_and_miss_nothing_that_it_has() {
    let (mut master, replica) = (TcpServer::redis(&[]), TcpServer::redis(&[]));
    say(replica.port, &format!("REPLICAOF 127.0.0.1 {}\r\n", master.port), "+OK\r\n");
    ask_until(master.port, "WAIT 1 1000\r\n", ":1\r\n");
    // A sentinel asks a master for its replicas when it begins to watch it.
    let sentinel = Sentinel::of(master.port);
    ask_until(sentinel.port, "SENTINEL REPLICAS chat\r\n", &replica.port.to_string());
    let (here, there) = (Node::start(sentinel.broker()), Node::start(sentinel.broker()));
    let client = there.client("x", "ann");
    let log = here.room("log").with_history(History::new(100, Duration::from_secs(60)));
    let _same = there.room("log").with_history(History::new(100, Duration::from_secs(60)));
    let member = there.resume("log", "bob", None);
    let (_, _, before) = member.joined();
    send(here.room("x").broadcast("here 0"));
    assert!(send(log.broadcast("stored 0")).stored.is_some());
    member.expect(["stored 0"]);
    // `WAIT` asks for what its own connection has written, so the replica is asked itself.
    ask_until(replica.port, "KEYS *\r\n", "log");
    master.kill();
    sentinel.lose_patience();
    for node in [&here, &there] {
        node.wait_until("at the new master", |node| node.metrics().connected && node.metrics().reconnects > 0);
    }
    send(here.room("x").broadcast("here 1"));
    assert_eq!(client.numbered(Duration::from_millis(1500))["here"], [0, 1]);
    assert!(send(log.broadcast("stored 1")).stored.is_some());
    member.expect(["stored 1"]);
    let (missed, recovered, _) = there.resume("log", "cleo", Some(before)).joined();
    assert_eq!((missed, recovered), (vec!["stored 0".to_owned(), "stored 1".to_owned()], true));
}
