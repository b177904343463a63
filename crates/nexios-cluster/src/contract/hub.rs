//! What only the hub does; and a hub in this process, for the contract.

use nexios_cluster::{Broker, Hub, RunningHub};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::peer::{Peer, append, room};
use super::servers::{Directory, Server};

pub(super) struct OwnHub {
    running: Option<RunningHub>,
    path: PathBuf,
    _directory: Directory,
}

impl OwnHub {
    pub(super) fn start() -> Self {
        OwnHub::start_with(|hub| hub)
    }

    fn start_with(set: impl FnOnce(Hub) -> Hub) -> Self {
        let directory = Directory::new();
        let path = directory.0.join("hub.sock");
        let running = Some(set(Hub::bind(&path).unwrap()).start().unwrap());
        OwnHub { running, path, _directory: directory }
    }
}

impl Server for OwnHub {
    fn broker(&self) -> Broker {
        Broker::new(format!("unix:{}", self.path.display()))
    }

    fn kill(&mut self) {
        self.running = None;
    }

    fn restart(&mut self) {
        self.running = Some(Hub::bind(&self.path).unwrap().start().unwrap());
    }
}

#[tokio::test]
async fn a_hub_that_is_started_anew_begins_a_new_epoch() {
    let mut hub = OwnHub::start();
    let positions = Peer::connect(&hub).await.fill(&room("x"), 0..2).await;
    hub.kill();
    hub.restart();
    let peer = Peer::connect(&hub).await;
    assert_ne!(peer.top(&room("x")).await.epoch, positions[0].epoch);
    assert_eq!(peer.missed(&room("x"), positions[1]).await, None);
}

#[tokio::test]
async fn where_there_is_no_room_the_log_that_was_used_least_recently_begins_anew() {
    let hub = OwnHub::start_with(|hub| hub.history_bytes_max(100_000));
    let peer = Peer::connect(&hub).await;
    let (old, new) = (room("old"), room("new"));
    let first = peer.append(append(&old, "x".repeat(60_000))).await.position;
    let second = peer.append(append(&new, "y".repeat(60_000))).await.position;
    assert_eq!(peer.missed(&new, second).await, Some(vec![]));
    assert_eq!(peer.missed(&old, first).await, None);
}

#[tokio::test]
async fn what_is_read_waits_for_one_who_does_not_take_it() {
    let hub = OwnHub::start_with(|hub| hub.node_bytes_max(4 << 20));
    let peer = Peer::connect(&hub).await;
    let log = room("x");
    peer.append(append(&log, "x".repeat(1 << 20))).await;
    let questions = (0..20).map(|_| async { peer.newest(&log, 1).await.len() });
    let answers = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        let mut answers = 0;
        for question in questions.collect::<Vec<_>>() {
            answers += question.await;
        }
        answers
    });
    assert_eq!(answers.await, Ok(20));
}

#[test]
fn a_node_of_another_release_is_told_why_it_is_refused() {
    let hub = OwnHub::start();
    let mut stream = UnixStream::connect(&hub.path).unwrap();
    stream.write_all(&[1]).unwrap();
    let mut got = Vec::new();
    // Cut with bytes unread may be a reset.
    let _ = stream.read_to_end(&mut got);
    let said = "a node speaks version 1 of the hub's protocol, this hub 2";
    assert_eq!(String::from_utf8_lossy(&got[5..]), said);
}
