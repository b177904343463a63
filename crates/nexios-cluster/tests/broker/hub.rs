//! What only the hub does.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nexios::broker::{Broker, Hub};

use crate::node::{Node, send};
use crate::servers::Directory;

#[test]
fn a_node_that_does_not_read_is_cut_and_nobody_else_notices() {
    let directory = Directory::new();
    let path = directory.0.join("hub.sock");
    let hub = Hub::bind(&path).unwrap().node_bytes_max(100_000).start().unwrap();
    let broker = || Broker::new(format!("unix:{}", path.display()));
    let (here, there) = (Node::start(broker()), Node::start(broker()));
    let client = there.client("x", "ann");
    let mut stuck = UnixStream::connect(&path).unwrap();
    // Subscribes to the room's channel, and then reads nothing.
    let channel = b"nexios-room-x";
    stuck.write_all(&[2, 0, 0, 0, 22, 2, 0, 0, 0, 7, 0, 0, 0, 13]).unwrap();
    stuck.write_all(channel).unwrap();
    let padding = "x".repeat(10_000);
    // As fast as those who read do, so that only the one who does not is too slow.
    for n in 0..200 {
        let message = format!("here {n} {padding}");
        send(here.room("x").broadcast(&*message));
        client.expect([&message]);
    }
    assert!(there.gaps().is_empty());
    let mut got = Vec::new();
    stuck.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stuck.read_to_end(&mut got).expect("an end");
    assert!((100_000..2_000_000).contains(&got.len()), "{}", got.len());
    drop(hub);
}

#[test]
fn what_is_no_node_is_cut() {
    let directory = Directory::new();
    let path = directory.0.join("hub.sock");
    let _hub = Hub::bind(&path).unwrap().start().unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[2, 0xff, 0xff, 0xff, 0xff], &[2, 0, 0, 0, 1, 99]] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(garbage).unwrap();
        let mut got = Vec::new();
        // Cut with bytes unread may be a reset.
        assert!(stream.read_to_end(&mut got).is_err() || got.is_empty());
    }
}

#[test]
fn the_place_of_a_hub_that_has_ended_is_taken_and_no_other() {
    let directory = Directory::new();
    let path = directory.0.join("hub.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = Hub::bind(&path).unwrap().start().unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Hub::bind(&path).is_err(), "a hub runs there");
    drop(running);
    assert!(!path.exists());
    std::fs::write(&path, "a file").unwrap();
    assert!(Hub::bind(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"a file");
}
