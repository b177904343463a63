//! What only Redis does: data that lasts or does not, users, replicas, clusters.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nexios_cluster::Broker;

use super::peer::{Peer, append, room};
use super::servers::{Server, TcpServer};
use crate::engines::link::LinkError;
use crate::envelope::NodeId;
use crate::node::incoming::Incoming;

/// Says something to a server, and waits until it has answered so.
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

/// At a URL of its own.
pub(super) struct At(TcpServer, String);

impl Server for At {
    fn broker(&self) -> Broker {
        Broker::new(&self.1)
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl At {
    fn redis() -> Self {
        let server = TcpServer::redis(&[]);
        let url = format!("redis://127.0.0.1:{}", server.port);
        At(server, url)
    }
}

pub(super) fn cluster() -> At {
    let server = TcpServer::redis(&["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]);
    say(server.port, "CLUSTER ADDSLOTSRANGE 0 16383\r\n", "+OK\r\n");
    say(server.port, "CONFIG SET cluster-announce-ip 127.0.0.1\r\n", "+OK\r\n");
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    At(server, url)
}

#[tokio::test]
async fn one_that_keeps_nothing_begins_a_new_epoch() {
    let mut server = TcpServer::redis(&[]);
    let positions = Peer::connect(&server).await.fill(&room("x"), 0..2).await;
    server.kill();
    server.restart();
    let peer = Peer::connect(&server).await;
    assert_eq!(peer.missed(&room("x"), positions[1]).await, None);
    let next = peer.fill(&room("x"), 2..3).await;
    assert_eq!((next[0].offset, next[0].epoch == positions[0].epoch), (1, false));
    assert_eq!(peer.missed(&room("x"), positions[0]).await, None);
}

#[tokio::test]
async fn one_that_keeps_everything_counts_on() {
    let mut server = TcpServer::lasting_redis();
    let positions = Peer::connect(&server).await.fill(&room("x"), 0..2).await;
    server.kill();
    server.restart();
    let peer = Peer::connect(&server).await;
    let next = peer.fill(&room("x"), 2..3).await;
    assert_eq!((next[0].offset, next[0].epoch), (3, positions[0].epoch));
    assert_eq!(peer.missed(&room("x"), positions[0]).await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn scripts_that_it_has_forgotten_are_loaded_again() {
    let server = TcpServer::redis(&[]);
    let peer = Peer::connect(&server).await;
    peer.fill(&room("x"), 0..300).await;
    say(server.port, "SCRIPT FLUSH\r\n", "+OK\r\n");
    peer.fill(&room("x"), 300..600).await;
    say(server.port, "SCRIPT FLUSH\r\n", "+OK\r\n");
    assert_eq!(peer.newest(&room("x"), 1000).await, (0..600).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_whose_head_is_gone_begins_a_new_epoch() {
    let server = TcpServer::redis(&[]);
    let peer = Peer::connect(&server).await;
    let positions = peer.fill(&room("x"), 0..3).await;
    say(server.port, "DEL {nexios-room-x}:head\r\n", ":1\r\n");
    assert_eq!(peer.missed(&room("x"), positions[1]).await, None);
    assert_eq!(peer.fill(&room("x"), 3..4).await[0].offset, 1);
    assert_eq!(peer.newest(&room("x"), 10).await, ["3"]);
}

#[tokio::test]
async fn a_session_that_was_left_is_ended_before_the_next_begins() {
    let server = TcpServer::redis(&[]);
    let (engine, other) = (server.broker().engine().unwrap(), Peer::connect(&server).await);
    let connect =
        async || engine.connect(Incoming::new(NodeId::random(), 1 << 20, Arc::default()).sink()).await.unwrap();
    let left = connect().await;
    left.append(&[append(&room("x"), "x")]).await.unwrap();
    let next = connect().await;
    let refused = left.append(&[append(&room("x"), "late")]).await;
    assert!(matches!(refused, Err(LinkError::Lost(_))), "{refused:?}");
    next.append(&[append(&room("x"), "y")]).await.unwrap();
    assert_eq!(other.newest(&room("x"), 10).await, ["x", "y"]);
}

#[tokio::test]
async fn a_user_who_may_end_no_connections_is_served() {
    let server = TcpServer::redis(&[]);
    say(server.port, "ACL SETUSER ann on >secret ~* &* +@all -client\r\n", "+OK\r\n");
    let at = format!("redis://ann:secret@127.0.0.1:{}", server.port);
    let engine = Broker::new(at).engine().unwrap();
    for _ in 0..2 {
        let sink = Incoming::new(NodeId::random(), 1 << 20, Arc::default()).sink();
        engine.connect(sink).await.unwrap().append(&[append(&room("x"), "x")]).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_too_old_does_not_stay() {
    let server = TcpServer::redis(&[]);
    let peer = Peer::connect(&server).await;
    let log = super::peer::log("x", 1000, 1);
    peer.fill(&log, 0..200).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    peer.fill(&log, 200..300).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    peer.fill(&log, 300..500).await;
    say(server.port, "XLEN {nexios-room-x}:log\r\n", ":300\r\n");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    say(server.port, "EXISTS {nexios-room-x}:log {nexios-room-x}:head\r\n", ":1\r\n");
}

#[tokio::test]
async fn rooms_that_are_only_read_leave_no_keys() {
    for server in [At::redis(), cluster()] {
        let peer = Peer::connect(&server).await;
        let positions = futures_util::future::join_all((0..300).map(|n| {
            let peer = &peer;
            async move {
                let log = room(&n.to_string());
                let top = peer.top(&log).await;
                assert_eq!(peer.missed(&log, top).await, Some(vec![]));
                assert_eq!(peer.newest(&log, 10).await, [""; 0]);
                top
            }
        }));
        assert_eq!(positions.await.len(), 300);
        // The secret of all rooms, in a cluster of those of one slot.
        say(server.0.port, "EVAL \"return #redis.call('KEYS', '*room*')\" 0\r\n", ":0\r\n");
        if !server.1.contains("cluster") {
            say(server.0.port, "DBSIZE\r\n", ":1\r\n");
            say(server.0.port, "TTL nexios-origins\r\n", ":-1\r\n");
        }
    }
}

/// Entries that Redis makes itself, as old as is said.
fn fill_directly(port: u16, count: usize, age_ms: u64) {
    let script = "local now = redis.call('TIME')[1] * 1000 - ARGV[2] \
        local epoch = redis.call('HGET', KEYS[2], 'top'):sub(1, 8) \
        local top for o = 2, ARGV[1] + 1 do \
        local nonce = redis.sha1hex(tostring(o)):sub(1, 16) \
        redis.call('XADD', KEYS[1], o .. '-0', 'e', '\\2' .. epoch .. struct.pack('>I8I8I8', o, o - 1, now) .. nonce .. 'x') \
        top = epoch .. struct.pack('>I8', o) .. nonce end \
        redis.call('HSET', KEYS[2], 'top', top) return 'filled'";
    let (log, head) = ("{nexios-room-x}:log", "{nexios-room-x}:head");
    let words = ["EVAL", script, "2", log, head, &count.to_string(), &age_ms.to_string()];
    let command = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
    say(port, &format!("*{}\r\n{command}", words.len()), "filled");
}

/// How often a command was called, in scripts too.
async fn calls(port: u16, command: &str) -> u64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_retry_in_a_large_history_lets_others_have_their_turn_and_ends() {
    for (age_ms, runs) in [(0, 12..=15), (400_000, 1..=1)] {
        let server = TcpServer::redis(&[]);
        let (peer, log) = (Peer::connect(&server).await, super::peer::log("x", 100_000, 3600));
        let first = append(&log, "first");
        let position = peer.append(first.clone()).await.position;
        fill_directly(server.port, 50_000, age_ms);
        let before = (calls(server.port, "evalsha").await, calls(server.port, "xrevrange").await);
        let new = crate::history::log::Append { again: true, ..append(&log, "new") };
        assert!(!peer.append(new).await.duplicate);
        let after = (calls(server.port, "evalsha").await, calls(server.port, "xrevrange").await);
        // One more run appends, and looks at the newest once more.
        let looks = after.0 - before.0 - 1;
        assert!(runs.contains(&looks), "{looks} runs look for it");
        assert!(after.1 - before.1 <= 8 * looks + 1, "each of them at no more than 4,096 entries");
        if age_ms == 0 {
            let again = peer.append(crate::history::log::Append { again: true, ..first }).await;
            assert_eq!((again.position, again.duplicate), (position, true));
        }
    }
}

#[tokio::test]
async fn where_everything_is_deleted_nothing_is_recovered_from_before() {
    let server = TcpServer::redis(&[]);
    let (peer, log) = (Peer::connect(&server).await, room("x"));
    let start = peer.top(&log).await;
    peer.fill(&log, 0..2).await;
    say(server.port, "FLUSHALL\r\n", "+OK\r\n");
    assert_eq!(peer.missed(&log, start).await, None);
    peer.fill(&log, 2..4).await;
    assert_eq!(peer.missed(&log, start).await, None);
}

#[tokio::test]
async fn a_place_before_the_first_entry_is_that_of_one_week() {
    let server = TcpServer::redis(&[]);
    let (peer, log) = (Peer::connect(&server).await, room("x"));
    let start = peer.top(&log).await;
    peer.fill(&log, 0..2).await;
    say(server.port, "HINCRBY {nexios-room-x}:head born 1\r\n", ":");
    assert_eq!(peer.missed(&log, start).await, None, "the count began in the week behind it");
    say(server.port, "HINCRBY {nexios-room-x}:head born -1\r\n", ":");
    assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1"]);
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_has_no_history_and_is_told() {
    let server = TcpServer::redis(&[]);
    say(server.port, "ACL SETUSER ann on >secret ~* &* +@all -@scripting\r\n", "+OK\r\n");
    let url = format!("redis://ann:secret@127.0.0.1:{}", server.port);
    let peer = Peer::connect(&At(server, url)).await;
    assert!(!peer.session.capabilities().history);
    let refused = peer.session.append(&[append(&room("x"), "x")]).await.unwrap_err();
    assert!(matches!(&refused, LinkError::Refused(reason) if reason.contains("no scripts")), "{refused}");
}

#[tokio::test]
async fn an_append_says_how_many_replicas_have_it_and_waits_for_none_that_is_gone() {
    let server = TcpServer::redis(&["--repl-diskless-sync-delay", "0"]);
    let mut replica = TcpServer::redis(&[]);
    say(replica.port, &format!("REPLICAOF 127.0.0.1 {}\r\n", server.port), "+OK\r\n");
    // One that is still loading counts as one that has everything, as long as there is nothing.
    say(server.port, "SET x 1\r\nWAIT 1 10000\r\n", "+OK\r\n:1\r\n");
    let url = format!("redis://127.0.0.1:{}?replicas=1", server.port);
    let at = At(server, url);
    let peer = Peer::connect(&at).await;
    assert_eq!(peer.session.capabilities().replicas_max, 1);
    let is_up = async { while peer.append(append(&room("first"), "x")).await.replicas == 0 {} };
    tokio::time::timeout(Duration::from_secs(20), is_up).await.unwrap();
    assert_eq!(peer.append(append(&room("x"), "x")).await.replicas, 1);
    replica.kill();
    assert_eq!(peer.append(append(&room("x"), "y")).await.replicas, 0);
    assert_eq!(peer.newest(&room("x"), 10).await, ["x", "y"]);
}
