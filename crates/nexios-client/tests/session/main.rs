//! What the client says and does, connection after connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod script;

use nexios_client::{Client, ConnectError, Connector, Event, Message, RequestError, Room, RoomEvent};
use script::{Peer, Server};
use serde_json::json;

async fn connect(server: &Server) -> (Client, Peer) {
    let connecting = tokio::spawn(Connector::new(server.url()).connect());
    let (peer, rooms) = server.welcome();
    assert_eq!(rooms, json!({}));
    let client = connecting.await.unwrap().unwrap();
    assert_eq!(client.next().await, Some(Event::Connected));
    (client, peer)
}

async fn offset(room: &Room) -> Option<u64> {
    match room.next().await {
        Some(RoomEvent::Message { offset, .. }) => offset,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_and_go_whatever_they_begin_with() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    client.send("plain").await.unwrap();
    client.send("\u{1e}escaped").await.unwrap();
    assert_eq!((peer.text(), peer.text()), ("plain".into(), "\u{1e}\n\u{1e}escaped".into()));
    peer.send_text("news");
    peer.send_text("\u{1e}\n\u{1e}news");
    assert_eq!(client.next().await, Some(Event::Message("news".into())));
    assert_eq!(client.next().await, Some(Event::Message("\u{1e}news".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_goes_on_where_it_was() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x");
    peer.joined("a-7-0b", false);
    peer.entry(8, "eight");
    assert!(matches!(room.next().await, Some(RoomEvent::Joined { recovered: Some(false), .. })));
    assert_eq!(offset(&room).await, Some(8));
    assert_eq!(room.position().unwrap().offset(), 7);
    client.drop_connection().await;
    assert!(matches!(client.next().await, Some(Event::Disconnected(reason)) if reason.code == 1006));
    let (mut peer, rooms) = server.welcome();
    assert_eq!(rooms, json!({"x": "a-8-0b"}));
    peer.joined("a-8-0b", true);
    [8, 9].into_iter().for_each(|offset| peer.entry(offset, ""));
    assert!(matches!(room.next().await, Some(RoomEvent::Joined { recovered: Some(true), .. })));
    assert_eq!(offset(&room).await, Some(9));
    peer.send(json!({"type": "reset", "room": "x", "position": "b-3-0b"}), "");
    assert!(matches!(room.next().await, Some(RoomEvent::Reset { position }) if position.to_string() == "b-3-0b"));
    peer.entry(4, "");
    assert_eq!(offset(&room).await, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_no_room_is_none_of_rooms_that_remember() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let (room, plain) = (client.room("x"), client.room("plain"));
    peer.joined("a-7-0b", false);
    peer.send(json!({"type": "gap", "missed": 3}), "");
    peer.entry(8, "");
    assert!(matches!(room.next().await, Some(RoomEvent::Joined { .. })));
    assert_eq!(offset(&room).await, Some(8));
    assert_eq!(plain.next().await, Some(RoomEvent::Gap { missed: Some(3) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_kept_is_said_at_once() {
    let server = Server::start();
    let position = "a-5-0b".parse().unwrap();
    let connecting = tokio::spawn(Connector::new(server.url()).position("x", position).connect());
    assert_eq!(server.welcome().1, json!({"x": "a-5-0b"}));
    connecting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_sent_again_until_it_is_confirmed() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x");
    let publishing = tokio::spawn(async move { room.publish("hello").await });
    let (first, payload) = peer.receive();
    assert_eq!((&first["type"], &first["room"], &*payload), (&json!("publish"), &json!("x"), "hello"));
    drop(peer);
    let (mut peer, _) = server.welcome();
    assert_eq!(peer.receive(), (first.clone(), payload));
    peer.send(json!({"type": "ack", "id": first["id"], "position": "a-1-0b"}), "");
    let ack = publishing.await.unwrap().unwrap();
    assert_eq!(ack.position.unwrap().to_string(), "a-1-0b");
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
    assert_eq!(lost.await.unwrap(), Err(RequestError::Disconnected));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_here_is_a_list_and_changes_are_told() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x");
    let asking = tokio::spawn({
        let room = room.clone();
        async move { room.presence().await }
    });
    let (header, _) = peer.receive();
    assert_eq!(header["type"], "presence");
    peer.send(json!({"type": "reply", "id": header["id"]}), r#"[{"user":"ann","data":{"tab":1}}]"#);
    let present = asking.await.unwrap().unwrap();
    assert_eq!((&*present[0].user, &present[0].data), ("ann", &json!({"tab": 1})));
    peer.send(json!({"type": "presence", "room": "x", "event": "leave", "user": "ann", "data": null}), "");
    assert!(matches!(room.next().await, Some(RoomEvent::Presence { joined: false, user, .. }) if user == "ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_meant_is_the_end() {
    let server = Server::start();
    let (client, peer) = connect(&server).await;
    let room = client.room("x");
    peer.close(1008);
    match client.next().await {
        Some(Event::Disconnected(reason)) => {
            assert_eq!((reason.code, &*reason.reason, reason.retry), (1008, "so it is", false));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((client.next().await, room.next().await), (None, None));
    assert_eq!(client.send("x").await, Err(RequestError::Closed));
    assert_eq!(room.publish("x").await, Err(RequestError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_not_and_close_is() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    peer.send(json!({"type": "closing", "code": 1012, "reason": "", "retry_ms": [0, 1]}), "");
    peer.close(1012);
    let (mut peer, _) = server.welcome();
    let closing = tokio::spawn(async move { client.close().await });
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peer.text()));
    assert!(ended.is_err(), "the client has said goodbye");
    closing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_fails_says_why() {
    assert!(matches!(Connector::new("http://x").connect().await, Err(ConnectError::Url(_))));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(Connector::new(format!("ws://{nobody}")).connect().await, Err(ConnectError::Io(_))));
    let server = Server::plain();
    let connecting = tokio::spawn(Connector::new(server.url()).connect());
    drop(server.accept());
    assert!(matches!(connecting.await.unwrap(), Err(ConnectError::NotSpoken)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_next_is_tried_after_a_loss_and_after_a_failed_attempt() {
    let (away, one, other) = (Server::start().url(), Server::start(), Server::start());
    let connector = Connector::new(away).or(one.url()).or(other.url());
    let connecting = tokio::spawn(connector.connect());
    let (mut peer, _) = one.welcome();
    let client = connecting.await.unwrap().unwrap();
    let room = client.room("x");
    peer.joined("a-7-0b", false);
    assert!(matches!(room.next().await, Some(RoomEvent::Joined { .. })));
    drop(peer);
    assert_eq!(other.welcome().1, json!({"x": "a-7-0b"}));
    let wrong = Connector::new(one.url()).or("nonsense").connect().await;
    assert!(matches!(wrong, Err(ConnectError::Url(url)) if url == "nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_begins_where_the_application_says() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x");
    for (since, position) in [
        (nexios_client::Since::Start, "start"),
        ("a-3-0b".parse::<nexios_client::Position>().unwrap().into(), "a-3-0b"),
    ] {
        let joining = tokio::spawn({
            let room = room.clone();
            async move { room.join_since(since).await }
        });
        let (join, _) = peer.receive();
        assert_eq!((&join["type"], &join["room"], &join["position"]), (&json!("join"), &json!("x"), &json!(position)));
        peer.send(json!({"type": "ack", "id": join["id"]}), "");
        assert!(joining.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_says_whether_it_was_there_before() {
    let server = Server::start();
    let (client, mut peer) = connect(&server).await;
    let room = client.room("x");
    for duplicate in [false, true] {
        let publishing = tokio::spawn({
            let room = room.clone();
            async move { room.publish_as("k", "text").await }
        });
        let (publish, _) = peer.receive();
        let ack = json!({"type": "ack", "id": publish["id"], "position": "a-7-0b"});
        let ack = if duplicate { json!({"type": "ack", "id": publish["id"], "duplicate": true}) } else { ack };
        peer.send(ack, "");
        assert_eq!(publishing.await.unwrap().map(|ack| ack.duplicate).ok(), Some(duplicate));
    }
}
