//! What every engine that keeps logs has to do.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::peer::{Peer, append, log, room, texts};
use super::servers::Server;
use crate::history::log::{Append, Entry, Nonce, PAGE_BYTES_MAX, Position, Span};
use crate::node::incoming::Event;

/// Each offset above the one before it, and each entry knows that one.
fn assert_in_order(entries: &[Entry]) {
    for pair in entries.windows(2) {
        assert!(pair[1].offset > pair[0].offset, "{} {}", pair[0].offset, pair[1].offset);
        assert_eq!(pair[1].previous, pair[0].offset);
        assert_eq!(pair[1].epoch, pair[0].epoch);
        assert!(pair[1].time_ms + 1000 > pair[0].time_ms);
    }
}

pub(super) async fn all_see_one_order_the_appender_too(server: &impl Server) {
    const COUNT: usize = 300;
    let log = room("order");
    let peers = [Peer::connect(server).await, Peer::connect(server).await, Peer::connect(server).await];
    for peer in &peers {
        peer.subscribe(&log).await;
    }
    let append_all = |peer: usize| {
        let (log, peers) = (&log, &peers);
        async move {
            let mut positions = Vec::new();
            for start in (0..COUNT).step_by(10) {
                let batch: Vec<_> = (start..start + 10).map(|n| append(log, format!("{peer} {n}"))).collect();
                positions.extend(peers[peer].append_all(&batch).await.into_iter().map(|appended| appended.position));
            }
            positions
        }
    };
    let (mine, theirs) = tokio::join!(append_all(0), append_all(1));
    let mut seen = Vec::new();
    for peer in &peers {
        let mut entries = Vec::new();
        for _ in 0..2 * COUNT {
            entries.push(peer.next().await);
        }
        assert_eq!(entries[0].previous, 0);
        assert_in_order(&entries);
        seen.push(entries);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    for (peer, positions) in [mine, theirs].iter().enumerate() {
        let of_peer: Vec<_> =
            seen[0].iter().filter(|entry| entry.envelope.starts_with(peer.to_string().as_bytes())).collect();
        assert!(of_peer.iter().map(|entry| entry.position()).eq(positions.iter().copied()));
        let expected: Vec<_> = (0..COUNT).map(|n| format!("{peer} {n}")).collect();
        assert_eq!(texts(&of_peer.into_iter().cloned().collect::<Vec<_>>()), expected);
    }
    let kept = peers[2].read(&log, Span::Newest(2 * COUNT)).await.entries;
    assert_eq!(kept[1..], seen[2][1..]);
}

pub(super) async fn pages_are_exact(server: &impl Server) {
    let (log, peer) = (room("pages"), Peer::connect(server).await);
    let positions = peer.fill(&log, 0..300).await;
    let mut position = positions[9];
    let mut entries = Vec::<Entry>::new();
    loop {
        let page = peer.read(&log, Span::After(position, 64)).await;
        assert_eq!((page.recovered, page.top), (true, positions[299]));
        let Some(last) = page.entries.last() else { break };
        assert!(page.entries.len() <= 64);
        assert_eq!(page.entries[0].previous, position.offset);
        position = last.position();
        entries.extend(page.entries);
    }
    assert!(entries.iter().map(Entry::position).eq(positions[10..].iter().copied()));
    assert_eq!(texts(&entries), (10..300).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_in_order(&entries);
    assert_eq!(peer.newest(&log, 3).await, ["297", "298", "299"]);
    assert_eq!(peer.newest(&log, 1).await, ["299"]);
    assert_eq!(peer.read(&log, Span::After(positions[0], 0)).await.entries, []);
}

pub(super) async fn the_oldest_come_first(server: &impl Server) {
    let (log, peer) = (log("oldest", 5, 600), Peer::connect(server).await);
    let page = peer.read(&log, Span::Oldest(10)).await;
    assert_eq!((page.recovered, page.entries.len(), page.top), (true, 0, peer.top(&log).await));
    let positions = peer.fill(&log, 0..8).await;
    let page = peer.read(&log, Span::Oldest(2)).await;
    assert_eq!((page.recovered, texts(&page.entries), page.top), (true, vec!["3".into(), "4".into()], positions[7]));
    assert_eq!(page.entries[0].position(), positions[3]);
    assert_in_order(&page.entries);
    assert_eq!(texts(&peer.read(&log, Span::Oldest(100)).await.entries), ["3", "4", "5", "6", "7"]);
    let young = super::peer::log("oldest2", 100, 1);
    peer.fill(&young, 0..3).await;
    sleep(Duration::from_millis(1200)).await;
    peer.fill(&young, 3..5).await;
    assert_eq!(texts(&peer.read(&young, Span::Oldest(100)).await.entries), ["3", "4"]);
}

pub(super) async fn a_long_page_ends_early(server: &impl Server) {
    let (log, peer) = (room("long"), Peer::connect(server).await);
    let long = |n: usize| format!("{n} {}", "x".repeat(PAGE_BYTES_MAX / 2 - 2));
    let mut positions = Vec::new();
    for n in 0..7 {
        positions.push(peer.append(append(&log, long(n))).await.position);
    }
    let mut position = positions[0];
    let mut got = Vec::new();
    while position != positions[6] {
        let page = peer.read(&log, Span::After(position, 100)).await;
        assert!(page.recovered && (1..=3).contains(&page.entries.len()), "{}", page.entries.len());
        position = page.entries.last().unwrap().position();
        got.extend(texts(&page.entries));
    }
    assert_eq!(got, (1..7).map(long).collect::<Vec<_>>());
    let newest = peer.newest(&log, 100).await;
    assert!((1..=3).contains(&newest.len()), "{}", newest.len());
    assert_eq!(newest, (7 - newest.len()..7).map(long).collect::<Vec<_>>());
}

pub(super) async fn a_position_in_an_empty_log_counts(server: &impl Server) {
    let (log, peer) = (room("empty"), Peer::connect(server).await);
    let start = peer.top(&log).await;
    assert_eq!(peer.top(&log).await, start);
    assert_eq!(peer.missed(&log, start).await, Some(vec![]));
    peer.fill(&room("other"), 0..3).await;
    peer.fill(&log, 0..3).await;
    assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1", "2"]);
    assert_eq!(peer.missed(&log, Position::default()).await, None);
}

pub(super) async fn what_exceeds_the_size_is_gone_and_not_recovered(server: &impl Server) {
    let (log, peer) = (log("size", 5, 600), Peer::connect(server).await);
    let start = peer.top(&log).await;
    let positions = peer.fill(&log, 0..8).await;
    assert_eq!(peer.newest(&log, 100).await, ["3", "4", "5", "6", "7"]);
    assert_eq!(peer.missed(&log, positions[3]).await.unwrap(), ["4", "5", "6", "7"]);
    assert_eq!(peer.missed(&log, positions[7]).await, Some(vec![]));
    for gone in [start, positions[0], positions[2]] {
        assert_eq!(peer.missed(&log, gone).await, None, "{gone}");
    }
}

/// A position is as good as its own entry: that has to be kept, too.
pub(super) async fn what_is_missed_is_recovered_while_it_is_fewer_than_the_size(server: &impl Server) {
    let peer = Peer::connect(server).await;
    for came in 0..8 {
        let log = log(&format!("fewer{came}"), 5, 600);
        let start = peer.top(&log).await;
        let position = peer.fill(&log, 0..1).await[0];
        peer.fill(&log, 1..came + 1).await;
        let missed = |from: u32| (from..came + 1).map(|n| n.to_string()).collect::<Vec<_>>();
        let expected = (came < 5).then(|| missed(1));
        assert_eq!(peer.missed(&log, position).await, expected, "{came} came behind a message");
        // All of these and the first: one more.
        if came != 4 {
            let expected = (came < 4).then(|| missed(0));
            assert_eq!(peer.missed(&log, start).await, expected, "{} came behind the beginning", came + 1);
        }
    }
}

/// Before the first message there is no entry that has to be kept.
pub(super) async fn as_many_as_the_size_are_recovered_from_the_beginning(server: &impl Server) {
    let (log, peer) = (log("all", 5, 600), Peer::connect(server).await);
    let start = peer.top(&log).await;
    peer.fill(&log, 0..5).await;
    assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1", "2", "3", "4"]);
    peer.fill(&log, 5..6).await;
    assert_eq!(peer.missed(&log, start).await, None);
}

pub(super) async fn what_is_past_its_time_is_gone_and_not_recovered(server: &impl Server) {
    let (log, peer) = (log("time", 100, 1), Peer::connect(server).await);
    let start = peer.top(&log).await;
    let old = peer.fill(&log, 0..3).await;
    sleep(Duration::from_millis(700)).await;
    let young = peer.fill(&log, 3..4).await;
    assert_eq!(peer.missed(&log, old[0]).await.unwrap(), ["1", "2", "3"]);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(peer.newest(&log, 100).await, ["3"]);
    assert_eq!(peer.missed(&log, young[0]).await, Some(vec![]));
    for gone in [start, old[0], old[2]] {
        assert_eq!(peer.missed(&log, gone).await, None, "{gone}");
    }
    sleep(Duration::from_millis(600)).await;
    assert_eq!(peer.newest(&log, 100).await, [""; 0]);
    assert_eq!(peer.missed(&log, old[0]).await, None);
    let next = peer.fill(&log, 4..5).await;
    assert!(next[0].offset > young[0].offset && next[0].epoch == young[0].epoch);
    assert_eq!(peer.newest(&log, 100).await, ["4"]);
}

pub(super) async fn another_nonce_epoch_or_offset_is_not_recovered(server: &impl Server) {
    let (log, peer) = (room("wrong"), Peer::connect(server).await);
    let positions = peer.fill(&log, 0..4).await;
    let nonce = Nonce::random();
    for wrong in [
        Position { nonce, ..positions[1] },
        Position { nonce, ..positions[3] },
        Position { epoch: positions[1].epoch ^ 1, ..positions[1] },
        Position { epoch: positions[3].epoch ^ 1, ..positions[3] },
        Position { offset: positions[3].offset + 1, ..positions[3] },
        Position { offset: positions[3].offset + 1, nonce, ..positions[3] },
        Position { offset: u64::MAX, nonce, ..positions[3] },
        Position { offset: 0, nonce, ..positions[3] },
        Position::default(),
    ] {
        assert_eq!(peer.missed(&log, wrong).await, None, "{wrong}");
    }
    assert_eq!(peer.missed(&log, positions[1]).await.unwrap(), ["2", "3"]);
}

pub(super) async fn a_position_that_was_never_given_out_recovers_nothing(server: &impl Server) {
    let (log, other, peer) = (room("forged"), room("forged2"), Peer::connect(server).await);
    let (start, of_other) = (peer.top(&log).await, peer.top(&other).await);
    let unused: Vec<_> = made_up(&[start]).chain([of_other]).collect();
    for forged in unused.iter().filter(|forged| **forged != start) {
        assert_eq!(peer.missed(&log, *forged).await, None, "{forged} in a room that nobody used");
    }
    let elsewhere = peer.fill(&other, 0..4).await;
    let positions = peer.fill(&log, 0..4).await;
    let elsewhere: Vec<_> = elsewhere.into_iter().chain(peer.fill(&other, 4..5).await).collect();
    let known: Vec<_> = [start].iter().chain(&positions).copied().collect();
    let forged = made_up(&known).chain([of_other, Position { offset: 0, ..of_other }]).chain(elsewhere);
    for forged in forged.filter(|forged| !known.contains(forged)) {
        assert_eq!(peer.missed(&log, forged).await, None, "{forged}");
    }
    assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1", "2", "3"]);
    assert_eq!(Peer::connect(server).await.missed(&log, start).await.unwrap(), ["0", "1", "2", "3"]);
}

/// What a client can make of the positions that it knows.
fn made_up(known: &[Position]) -> impl Iterator<Item = Position> {
    let nonces: Vec<_> =
        known.iter().map(|known| known.nonce).chain([Nonce::default(), Nonce([255; 16]), Nonce::random()]).collect();
    let epochs: Vec<_> =
        known.iter().flat_map(|known| [known.epoch, known.epoch ^ 1]).chain([0, 1, u64::MAX]).collect();
    let mut offsets: Vec<_> = known.iter().flat_map(|known| [known.offset, known.offset + 1]).collect();
    offsets.extend([0, 1, 2, 1 << 53, i64::MAX as u64, u64::MAX]);
    epochs.into_iter().flat_map(move |epoch| {
        let nonces = nonces.clone();
        offsets
            .clone()
            .into_iter()
            .flat_map(move |offset| nonces.clone().into_iter().map(move |nonce| Position { epoch, offset, nonce }))
    })
}

pub(super) async fn all_agree_on_the_position_of_a_room_that_nobody_used(server: &impl Server) {
    let (log, peers) = (room("unused"), [Peer::connect(server).await, Peer::connect(server).await]);
    let start = peers[0].top(&log).await;
    assert_eq!((peers[1].top(&log).await, start == Position::default()), (start, false));
    assert_eq!(peers[1].missed(&log, start).await, Some(vec![]));
    peers[0].fill(&log, 0..2).await;
    let late = Peer::connect(server).await;
    for peer in peers.iter().chain([&late]) {
        assert_eq!(peer.missed(&log, start).await.unwrap(), ["0", "1"]);
    }
}

pub(super) async fn a_key_counts_once(server: &impl Server) {
    let (log, peer) = (log("key", 100, 3), Peer::connect(server).await);
    peer.subscribe(&log).await;
    let with_key = |log, text, key: &str| Append { key: Some(key.into()), ..append(log, text) };
    let key = "what a client says: \r\n{}*.> ü";
    let batch = [with_key(&log, "first", key), with_key(&log, "second", "b"), with_key(&log, "third", key)];
    let appended = peer.append_all(&batch).await;
    assert_eq!([false, false, true], [0, 1, 2].map(|at: usize| appended[at].duplicate));
    assert_eq!(appended[2].position, appended[0].position);
    assert_eq!(appended[0].position.nonce, batch[0].nonce);
    let once_more = Peer::connect(server).await.append(with_key(&log, "fourth", key)).await;
    assert_eq!((once_more.duplicate, once_more.position), (true, appended[0].position));
    let elsewhere = super::peer::log("key2", 100, 3);
    assert!(!peer.append(with_key(&elsewhere, "elsewhere", key)).await.duplicate);
    assert_eq!(peer.newest(&log, 100).await, ["first", "second"]);
    assert_eq!(texts(&[peer.next().await, peer.next().await]), ["first", "second"]);
    // The key outlives the entry.
    sleep(Duration::from_millis(3200)).await;
    assert!(peer.append(with_key(&log, "fifth", key)).await.duplicate);
    peer.append(append(&log, "last")).await;
    assert_eq!(texts(&[peer.next().await]), ["last"]);
}

/// An answer that is lost with its session.
pub(super) async fn what_is_said_again_is_there_once(server: &impl Server) {
    let (log, other) = (room("again"), Peer::connect(server).await);
    other.subscribe(&log).await;
    let batch: Vec<_> = (0..20).map(|n| append(&log, n)).collect();
    let again =
        |batch: &[Append]| batch.iter().map(|append| Append { again: true, ..append.clone() }).collect::<Vec<_>>();
    let lost = Peer::connect(server).await;
    // Whatever of it has arrived.
    let _ = timeout(Duration::from_micros(300), lost.session.append(&batch)).await;
    drop(lost);
    let peer = Peer::connect(server).await;
    let appended = peer.append_all(&again(&batch)).await;
    assert!(appended.iter().zip(&batch).all(|(appended, append)| appended.position.nonce == append.nonce));
    assert_eq!(peer.newest(&log, 1000).await, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    let new = [append(&log, "new")];
    assert!(!peer.append_all(&again(&new)).await[0].duplicate);
    let repeated = peer.append_all(&again(&[batch[3].clone(), new[0].clone(), batch[0].clone()])).await;
    assert!(repeated.iter().all(|appended| appended.duplicate));
    let positions = [appended[3].position, peer.top(&log).await, appended[0].position];
    assert_eq!(repeated.iter().map(|appended| appended.position).collect::<Vec<_>>(), positions);
    for _ in 0..21 {
        other.next().await;
    }
    peer.append(append(&log, "last")).await;
    assert_eq!(texts(&[other.next().await]), ["last"]);
}

pub(super) async fn a_thousand_go_at_once(server: &impl Server) {
    let peer = Peer::connect(server).await;
    let logs = ["a", "b", "c"].map(room);
    let batch: Vec<_> = (0..1000).map(|n| append(&logs[n % 3], n)).collect();
    let appended = peer.append_all(&batch).await;
    assert_eq!(appended.len(), 1000);
    for (which, log) in logs.iter().enumerate() {
        let entries = peer.read(log, Span::Newest(1000)).await.entries;
        let positions = appended.iter().skip(which).step_by(3).map(|appended| appended.position);
        assert!(entries.iter().map(Entry::position).eq(positions));
        let expected: Vec<_> = (which..1000).step_by(3).map(|n| n.to_string()).collect();
        assert_eq!(texts(&entries), expected);
    }
    assert_eq!(peer.append_all(&[]).await, []);
}

pub(super) async fn rooms_count_by_themselves(server: &impl Server) {
    let peer = Peer::connect(server).await;
    let logs = [room("one"), room("two"), log("three", 7, 60)];
    peer.subscribe(&logs[0]).await;
    for n in 0..3 {
        for log in &logs {
            peer.append(append(log, format!("{} {n}", log.channel))).await;
        }
    }
    for log in &logs {
        let expected: Vec<_> = (0..3).map(|n| format!("{} {n}", log.channel)).collect();
        assert_eq!(peer.newest(log, 100).await, expected);
    }
    let got = [peer.next().await, peer.next().await, peer.next().await];
    assert_eq!(got.each_ref().map(|entry| entry.envelope.starts_with(b"nexios-room-one")), [true; 3]);
    assert_in_order(&got);
}

pub(super) async fn the_longest_envelope_comes_back(server: &impl Server) {
    let (log, peer) = (room("longest"), Peer::connect(server).await);
    peer.subscribe(&log).await;
    let start = peer.top(&log).await;
    let longest = "x".repeat(peer.session.capabilities().envelope_bytes_max.min(8 << 20));
    let keyed = Append { key: Some("k".repeat(128).into()), ..append(&log, &longest) };
    let position = peer.append(keyed).await.position;
    assert!(texts(&[peer.next().await]) == [longest.clone()]);
    assert!(peer.newest(&log, 1).await == [longest.clone()]);
    assert!(peer.missed(&log, start).await.unwrap() == [longest]);
    assert_eq!(peer.missed(&log, position).await, Some(vec![]));
}

pub(super) async fn garbage_is_no_entry(server: &impl Server) {
    let (log, peer) = (room("garbage"), Peer::connect(server).await);
    peer.subscribe(&log).await;
    let other = Peer::connect(server).await;
    other.publish(&log, &b"\x02too short"[..]).await;
    other.publish(&log, &b""[..]).await;
    other.append(append(&log, "fine")).await;
    for _ in 0..2 {
        assert!(matches!(peer.event().await, Event::Envelope(_)));
    }
    assert_eq!(texts(&[peer.next().await]), ["fine"]);
    assert_eq!(peer.newest(&log, 10).await, ["fine"]);
}
