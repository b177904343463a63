//! The client over real sockets, as applications in Rust hold it. `tests/contract` has the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod script;

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use nexios_client::{
    Client, CloseKind, ConnectError, Connector, Error, Event, FileStorage, Message, PresenceChange, Room,
};
use nexios_client::{RoomEvent, Since, State};
use script::{NONCE, Peer, Server, at};
use serde_json::json;

async fn connect(server: &Server) -> (Client, Peer) {
    let connecting = tokio::spawn(Connector::new(server.url()).connect());
    let (peer, rooms) = server.welcome();
    assert_eq!(rooms, json!({}));
    let mut client = connecting.await.unwrap().unwrap();
    assert_eq!(client.next().await, Some(Event::Open { id: "0".into() }));
    (client, peer)
}

async fn offset(room: &mut Room) -> Option<u64> {
    match room.next().await {
        Some(RoomEvent::Message { offset, .. }) => offset,
        other => panic!("{other:?}"),
    }
}

async fn joined(room: &mut Room) -> bool {
    match room.next().await {
        Some(RoomEvent::Joined { recovered, .. }) => recovered,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_and_go_whatever_they_begin_with() {
    let server = Server::start();
    let (mut client, mut peer) = connect(&server).await;
    assert_eq!(client.send("plain").await, Ok(true));
    assert_eq!(client.send("\u{1e}escaped").await, Ok(true));
    assert_eq!((peer.text(), peer.text()), ("plain".into(), "\u{1e}\n\u{1e}escaped".into()));
    peer.send_text("news");
    peer.send_text("\u{1e}\n\u{1e}news");
    assert_eq!(client.next().await, Some(Event::Message("news".into())));
    assert_eq!(client.next().await, Some(Event::Message("\u{1e}news".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_continues_where_it_was() {
    let server = Server::start();
    let (mut client, mut peer) = connect(&server).await;
    let mut room = client.room("x").unwrap();
    peer.joined(&at(7), false);
    peer.entry(8, "eight");
    assert!(!joined(&mut room).await);
    assert_eq!(offset(&mut room).await, Some(8));
    assert_eq!(room.position().unwrap().offset(), 7);
    client.drop(false);
    assert_eq!(client.next().await, Some(Event::Joined { room: "x".into() }));
    assert!(matches!(client.next().await, Some(Event::Close(closed)) if closed.code == 1006));
    let (mut peer, rooms) = server.welcome();
    assert_eq!(rooms, json!({"x": at(8)}));
    peer.joined(&at(8), true);
    [8, 9].into_iter().for_each(|offset| peer.entry(offset, ""));
    assert!(joined(&mut room).await);
    assert_eq!(offset(&mut room).await, Some(9));
    peer.send(json!({"type": "reset", "room": "x", "position": format!("b-3-{NONCE}")}), "");
    assert!(matches!(room.next().await, Some(RoomEvent::Reset { position }) if position.epoch() == 0xb));
    peer.entry(4, "");
    assert_eq!(offset(&mut room).await, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_no_room_does_not_concern_rooms_with_history() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let (mut room, mut plain) = (client.room("x").unwrap(), client.room("plain").unwrap());
    peer.joined(&at(7), false);
    peer.send(json!({"type": "joined", "room": "plain"}), "");
    peer.send(json!({"type": "gap", "missed": 3}), "");
    peer.entry(8, "");
    joined(&mut room).await;
    assert_eq!(offset(&mut room).await, Some(8));
    joined(&mut plain).await;
    assert_eq!(plain.next().await, Some(RoomEvent::Gap { missed: Some(3) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_kept_is_sent_at_once() {
    let server = Server::start();
    let position = at(5).parse().unwrap();
    let connecting = tokio::spawn(Connector::new(server.url()).position("x", position).connect());
    assert_eq!(server.welcome().1, json!({"x": at(5)}));
    connecting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_outlive_the_client_in_a_file() {
    let directory = std::env::temp_dir().join(format!("nexios-session-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("positions");
    let server = Server::start();
    let connecting = tokio::spawn(Connector::new(server.url()).storage(FileStorage::new(&path)).connect());
    let (mut peer, _) = server.welcome();
    let client = connecting.await.unwrap().unwrap();
    peer.joined(&at(5), false);
    let mut room = client.room("x").unwrap();
    joined(&mut room).await;
    let closing = tokio::spawn(async move {
        peer.until_closed();
    });
    client.close().await;
    closing.await.unwrap();
    assert_eq!(room.next().await, None);
    let connecting = tokio::spawn(Connector::new(server.url()).storage(FileStorage::new(&path)).connect());
    assert_eq!(server.welcome().1, json!({"x": at(5)}));
    connecting.await.unwrap().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_is_sent_again_until_it_is_confirmed() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x").unwrap();
    let publishing = tokio::spawn(async move { room.publish("hello").await });
    let (first, payload) = peer.receive();
    assert_eq!((&first["type"], &first["room"], &*payload), (&json!("publish"), &json!("x"), "hello"));
    drop(peer);
    let (mut peer, _) = server.welcome();
    assert_eq!(peer.receive(), (first.clone(), payload));
    peer.send(json!({"type": "ack", "id": first["id"], "position": at(1)}), "");
    let published = publishing.await.unwrap().unwrap();
    assert_eq!(published.position.unwrap().to_string(), at(1));
    assert_eq!(json!(published.key), first["key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_refused_or_lost() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let ask = |argument: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.request("say", argument).await })
    };
    let answered = ask("one");
    let (header, payload) = peer.receive();
    assert_eq!((&header["method"], &*payload), (&json!("say"), "one"));
    peer.send(json!({"type": "reply", "id": header["id"]}), "two");
    assert_eq!(answered.await.unwrap(), Ok(Message::from("two")));
    let refused = ask("no");
    let (header, _) = peer.receive();
    peer.send(json!({"type": "error", "id": header["id"], "code": "forbidden", "message": "not you"}), "");
    assert_eq!(refused.await.unwrap().unwrap_err().to_string(), "forbidden: not you");
    let lost = ask("lost");
    peer.receive();
    drop(peer);
    assert_eq!(lost.await.unwrap().map_err(|error| error.code().to_owned()), Err("disconnected".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_as_json_both_ways() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let asking = tokio::spawn(async move { client.request_json::<Vec<u8>>("double", &[1, 2]).await });
    let (header, payload) = peer.receive();
    assert_eq!(payload, "[1,2]");
    peer.send(json!({"type": "reply", "id": header["id"]}), "[2,4]");
    assert_eq!(asking.await.unwrap(), Ok(vec![2, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_room_are_a_list_and_changes_follow() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let mut room = client.room("x").unwrap();
    peer.send(json!({"type": "joined", "room": "x"}), "");
    joined(&mut room).await;
    let asking = tokio::spawn({
        let room = room.clone();
        async move { room.presence().await }
    });
    let (header, _) = peer.receive();
    assert_eq!(header["type"], "presence");
    peer.send(json!({"type": "reply", "id": header["id"]}), r#"[{"user":"ann","data":{"tab":1}}]"#);
    let members = asking.await.unwrap().unwrap();
    assert_eq!((&*members[0].user, &members[0].data), ("ann", &json!({"tab": 1})));
    peer.send(json!({"type": "presence", "room": "x", "event": "leave", "user": "ann", "data": null}), "");
    let left =
        |event| matches!(event, Some(RoomEvent::Presence(PresenceChange::Leave(member))) if member.user == "ann");
    assert!(left(room.next().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_meant_parks_the_client_until_it_reconnects() {
    let server = Server::start();
    let (mut client, peer) = connect(&server).await;
    peer.close(4000);
    match client.next().await {
        Some(Event::Close(closed)) => {
            assert_eq!((closed.code, &*closed.reason, closed.kind), (4000, "so it is", CloseKind::Application));
            assert!(!closed.retry);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.next().await, Some(Event::Parked { code: 4000, .. })));
    assert_eq!((client.state(), client.send("x").await), (State::Parked, Ok(false)));
    client.reconnect();
    let _peer = server.welcome();
    assert!(matches!(client.next().await, Some(Event::Open { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_is_the_end_and_says_goodbye() {
    let server = Server::start();
    let (mut client, mut peer) = connect(&server).await;
    let room = client.room("x").unwrap();
    let goodbye = tokio::spawn(async move { peer.until_closed() });
    client.close().await;
    assert_eq!(goodbye.await.unwrap(), Some(1000));
    assert!(matches!(client.next().await, Some(Event::Close(closed)) if closed.code == 1000));
    assert_eq!((client.next().await, client.state()), (None, State::Closed));
    assert_eq!(room.publish("x").await.map_err(|error| error.code().to_owned()), Err("closed".to_owned()));
    assert_eq!(room.join().await.map_err(|error| error.code().to_owned()), Err("closed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_closed_when_nobody_holds_the_client() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x").unwrap();
    let handler = client.on(|event| async move { drop(event) });
    drop(client);
    peer.send_text("still here");
    drop(room);
    assert_eq!(peer.until_closed(), Some(1000));
    handler.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_fails_says_why_where_that_is_wanted() {
    assert!(matches!(Connector::new("http://x").connect().await, Err(ConnectError::Url(_))));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Connector::new(format!("ws://{nobody}")).retry_first(false).connect().await;
    assert!(matches!(refused, Err(ConnectError::Ended(closed)) if closed.code == 1006));
    let server = Server::plain();
    let connecting = tokio::spawn(Connector::new(server.url()).connect());
    drop(server.accept());
    assert!(
        matches!(connecting.await.unwrap(), Err(ConnectError::Ended(closed)) if closed.kind == CloseKind::Protocol)
    );
    let wrong = Connector::new(server.url()).or("nonsense").connect().await;
    assert!(matches!(wrong, Err(ConnectError::Url(url)) if url == "nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_next_is_tried_after_a_loss_and_after_a_failed_attempt() {
    let (away, one, other) = (Server::start().url(), Server::start(), Server::start());
    let connecting = tokio::spawn(Connector::new(away).or(one.url()).or(other.url()).connect());
    let (mut peer, _) = one.welcome();
    let client = connecting.await.unwrap().unwrap();
    assert_eq!(client.url(), one.url());
    let mut room = client.room("x").unwrap();
    peer.joined(&at(7), false);
    joined(&mut room).await;
    drop(peer);
    assert_eq!(other.welcome().1, json!({"x": at(7)}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_begins_where_the_application_says() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let position: nexios_client::Position = at(3).parse().unwrap();
    for (name, since, position) in [("a", Since::Start, "start".to_owned()), ("b", position.into(), at(3))] {
        let room = client.room(name).unwrap();
        let joining = tokio::spawn(async move { room.join_since(since).await });
        let (join, _) = peer.receive();
        assert_eq!((&join["room"], &join["position"]), (&json!(name), &json!(position)));
        peer.send(json!({"type": "joined", "room": name}), "");
        peer.send(json!({"type": "ack", "id": join["id"]}), "");
        assert!(joining.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_a_stream_that_holds_the_room() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let mut news = client.subscribe("x").unwrap();
    let another = client.subscribe("x").unwrap();
    let (join, _) = peer.receive();
    peer.joined(&at(1), false);
    peer.send(json!({"type": "ack", "id": join["id"]}), "");
    peer.entry(2, "two");
    let first = poll_fn(|context| Pin::new(&mut news).poll_next(context)).await;
    assert!(matches!(first, Some(RoomEvent::Joined { has_history: true, .. })));
    assert!(matches!(news.next().await, Some(RoomEvent::Message { message, .. }) if message == "two".into()));
    drop(another);
    assert!(news.room().is_joined());
    let room = news.room().clone();
    drop(news);
    let (leave, _) = peer.receive();
    assert_eq!((&leave["type"], room.is_joined()), (&json!("leave"), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_get_events_one_after_another_and_their_errors_are_reported() {
    let server = Server::start();
    let (mut client, mut peer) = connect(&server).await;
    let (seen, mut seen_by) = tokio::sync::mpsc::channel(8);
    client.room("x").unwrap().on(move |event| {
        let seen = seen.clone();
        async move {
            let RoomEvent::Message { offset, .. } = event else { return Ok(()) };
            seen.send(offset).await.unwrap();
            if offset == Some(2) { Err(Error::new("mine", "not two")) } else { Ok(()) }
        }
    });
    peer.joined(&at(1), false);
    [2, 3].into_iter().for_each(|offset| peer.entry(offset, ""));
    assert_eq!((seen_by.recv().await, seen_by.recv().await), (Some(Some(2)), Some(Some(3))));
    assert!(matches!(client.next().await, Some(Event::Joined { .. })));
    assert!(matches!(client.next().await, Some(Event::Error(error)) if error.message().contains("not two")));
}
