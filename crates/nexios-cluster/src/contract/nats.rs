//! What only NATS does: JetStream that is off, data that lasts, streams that somebody deletes.

use async_nats::jetstream::{self, stream::Config};

use super::peer::{Peer, append, log, room};
use super::servers::{Server as _, TcpServer};
use crate::engines::link::LinkError;
use crate::history::log::Append;

async fn jetstream_of(server: &TcpServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(format!("nats://127.0.0.1:{}", server.port)).await.unwrap())
}

#[tokio::test]
async fn where_jetstream_is_off_there_is_no_history_and_it_says_what_to_do() {
    let server = TcpServer::nats(&[]);
    let peer = Peer::connect(&server).await;
    assert!(!peer.session.capabilities().history);
    let refused = peer.session.append(&[append(&room("x"), "x")]).await.unwrap_err();
    assert!(matches!(&refused, LinkError::Refused(reason) if reason.contains("--jetstream")), "{refused}");
}

/// Whether one more was there before them is not known.
#[tokio::test]
async fn as_many_as_the_size_are_not_recovered_from_the_beginning() {
    let server = TcpServer::jetstream();
    let (log, peer) = (log("all", 5, 600), Peer::connect(&server).await);
    let start = peer.top(&log).await;
    peer.fill(&log, 0..4).await;
    assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1", "2", "3"]);
    peer.fill(&log, 4..5).await;
    assert_eq!(peer.missed(&log, start).await, None);
}

#[tokio::test]
async fn what_is_stored_lasts() {
    let mut server = TcpServer::jetstream();
    let positions = Peer::connect(&server).await.fill(&room("x"), 0..3).await;
    server.kill();
    server.restart();
    let peer = Peer::connect(&server).await;
    assert_eq!(peer.missed(&room("x"), positions[0]).await.unwrap(), ["1", "2"]);
    let next = peer.fill(&room("x"), 3..4).await;
    assert_eq!((next[0].offset, next[0].epoch), (4, positions[0].epoch));
}

#[tokio::test]
async fn a_stream_that_is_deleted_begins_a_new_epoch() {
    let server = TcpServer::jetstream();
    let (peer, other) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let log = room("x");
    other.subscribe(&log).await;
    let positions = peer.fill(&log, 0..3).await;
    assert_eq!(other.missed(&log, positions[1]).await.unwrap(), ["2"]);
    let jetstream = jetstream_of(&server).await;
    let name = jetstream.stream_by_subject("nexios-log.1000.600000.*").await.unwrap();
    jetstream.delete_stream(&name).await.unwrap();
    let anew = peer.fill(&log, 3..6).await;
    assert_eq!((anew[0].offset, anew[0].epoch == positions[0].epoch), (1, false));
    for position in &positions {
        assert_eq!(peer.missed(&log, *position).await, None);
        assert_eq!(other.missed(&log, *position).await, None, "what it knew of the stream is out of date");
    }
    assert_eq!(other.missed(&log, anew[1]).await.unwrap(), ["5"]);
    for position in positions.iter().chain(&anew) {
        assert_eq!(other.next().await.position(), *position);
    }
}

#[tokio::test]
async fn streams_are_made_once_whoever_is_first() {
    let server = TcpServer::jetstream();
    let mut peers = Vec::new();
    for _ in 0..8 {
        peers.push(Peer::connect(&server).await);
    }
    let batch = [append(&room("x"), "x")];
    let appended = peers.iter().map(|peer| peer.session.append(&batch));
    let appended = futures_util::future::try_join_all(appended).await.unwrap();
    // All say the same, so it is one entry.
    assert!(appended.iter().all(|answer| answer[0].position == appended[0][0].position));
}

/// The server finds duplicates for five minutes only; what is kept is looked through besides.
#[tokio::test]
async fn what_is_said_again_is_found_where_the_server_has_forgotten_it() {
    let server = TcpServer::jetstream();
    let log = room("x");
    let peer = Peer::connect(&server).await;
    let first = append(&log, "first");
    let position = peer.append(first.clone()).await.position;
    let jetstream = jetstream_of(&server).await;
    let name = jetstream.stream_by_subject("nexios-log.1000.600000.*").await.unwrap();
    let config = jetstream.get_stream(&name).await.unwrap().cached_info().config.clone();
    let window = std::time::Duration::from_millis(200);
    jetstream.update_stream(Config { duplicate_window: window, ..config }).await.unwrap();
    tokio::time::sleep(window * 3).await;
    let again = peer.append(Append { again: true, ..first.clone() }).await;
    assert_eq!((again.position, again.duplicate), (position, true));
    assert!(!peer.append(first).await.duplicate, "the server has forgotten it");
}

/// Other rooms have their numbers in between, more or fewer at a time.
#[tokio::test]
async fn the_newest_of_a_room_are_found_from_the_back() {
    let server = TcpServer::jetstream();
    let (peer, x, other) = (Peer::connect(&server).await, room("x"), room("other"));
    peer.fill(&other, 0..500).await;
    peer.fill(&x, 0..900).await;
    for n in 900..910 {
        peer.fill(&other, 0..300).await;
        peer.fill(&x, n..n + 1).await;
    }
    peer.fill(&other, 0..500).await;
    for count in [1, 2, 5, 10, 11, 50, 500, 909, 910, 1000, 5000] {
        let expected: Vec<_> = (910_usize.saturating_sub(count)..910).map(|n| n.to_string()).collect();
        assert_eq!(peer.newest(&x, count).await, expected, "{count}");
    }
}

#[tokio::test]
async fn what_is_said_again_is_looked_for_where_it_can_be() {
    let server = TcpServer::jetstream();
    let (peer, x) = (Peer::connect(&server).await, room("x"));
    let batch: Vec<_> = (0..5).map(|n| append(&x, n)).collect();
    let appended = peer.append_all(&batch).await;
    peer.fill(&room("other"), 0..100).await;
    let again: Vec<_> = batch.iter().map(|append| Append { again: true, ..append.clone() }).collect();
    let found = peer.append_all(&again).await;
    assert!(found.iter().zip(&appended).all(|(found, first)| found.duplicate && found.position == first.position));
}

#[tokio::test]
async fn a_stream_of_somebody_else_is_left_alone() {
    let server = TcpServer::jetstream();
    let jetstream = jetstream_of(&server).await;
    let config =
        Config { name: "everything".to_owned(), subjects: vec!["nexios-log.>".to_owned()], ..Config::default() };
    jetstream.create_stream(config).await.unwrap();
    let refused = Peer::connect(&server).await.session.append(&[append(&room("x"), "x")]).await.unwrap_err();
    assert!(matches!(&refused, LinkError::Refused(reason) if reason.contains("\"everything\"")), "{refused}");
}
