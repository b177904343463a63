//! Rooms: `join`, `leave`, `publish`, and what members are told.

use std::sync::Arc;

use nexios::{App, Message, RequestError, SlowClient, WebSocket, WebSocketException, WsRouter};

use super::{deaf, frame, framed, got, live, send_all};
use crate::bench::{Bench, Client, Log};

/// Joins and leaves as the client says: `+room`, `-room`; anything else goes to all rooms.
async fn obey(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.query("id").unwrap_or_default());
    ws.accept().await?;
    loop {
        let order = ws.receive_text().await?;
        match order.split_at_checked(1) {
            Some(("+", room)) => assert!(ws.join(room).await),
            Some(("-", room)) => assert!(ws.leave(room).await),
            _ => {
                for room in ws.rooms() {
                    ws.app().room(room).broadcast(order.clone()).await;
                }
            }
        }
    }
}

fn open_app() -> App {
    let yes = async |_: WebSocket, _: Arc<str>| true;
    App::new().live(true).ws("/", obey).authorize_join(yes).authorize_publish(yes)
}

const JOIN: &str = r#"{"type":"join","id":1,"room":"x"}"#;
const LEAVE: &str = r#"{"type":"leave","id":2,"room":"x"}"#;
const PUBLISH: &str = r#"{"type":"publish","id":3,"room":"x"}"#;

#[test]
fn a_join_of_the_application_is_told_to_a_framed_client_only() {
    let bench = Bench::new(open_app());
    let (framed, plain) = (live(&bench, "/"), bench.connect("/"));
    for client in [&framed, &plain] {
        client.send("+a \"b\"\n");
        client.send("+a \"b\"\n");
    }
    assert_eq!(got(&framed), [r#"|{"type":"joined","room":"a \"b\"\n"}|"#]);
    assert!(plain.texts().is_empty());
    let room = bench.app.room("a \"b\"\n");
    assert_eq!((room.count(), bench.wait(room.members()).len()), (2, 2));
    framed.send("-a \"b\"\n");
    assert_eq!(got(&framed), [r#"|{"type":"left","room":"a \"b\"\n"}|"#]);
    assert_eq!(room.count(), 1);
    plain.reset();
    assert_eq!(room.count(), 0);
}

#[test]
fn both_kinds_of_members_see_the_same_messages_in_the_same_order() {
    let bench = Bench::new(open_app());
    let (framed, plain) = (live(&bench, "/"), bench.connect("/"));
    for client in [&framed, &plain] {
        client.send("+x");
        client.send("+y");
    }
    framed.seen();
    let send = |room: &str, message: Message| bench.wait(bench.app.room(room).broadcast(message));
    assert_eq!(send("x", "1".into()), 2);
    send("y", "2".into());
    bench.wait(bench.app.broadcast("3"));
    send("x", "\u{1E}4\n".into());
    send("x", vec![0x1E, 0xFF].into());
    send("x", "".into());
    assert_eq!(got(&plain), ["1", "2", "3", "|4|", "binary |\u{FFFD}", ""]);
    let of = |room: &str, payload: &str| format!(r#"|{{"type":"message","room":"{room}"}}|{payload}"#);
    let binary = format!("binary {}", of("x", "|\u{FFFD}"));
    assert_eq!(got(&framed), [of("x", "1"), of("y", "2"), "3".into(), of("x", "|4|"), binary, of("x", "")]);
}

#[test]
fn broadcasts_of_one_turn_keep_their_order_with_own_sends() {
    let bench = Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.join("x").await;
        let room = ws.app().room("x");
        room.broadcast("1").await;
        ws.send_text("2").await?;
        ws.leave("x").await;
        room.broadcast("not for it").await;
        ws.join("x").await;
        room.broadcast("3").await;
        ws.wait_closed().await;
        Ok(())
    }));
    let client = super::offer(&bench, "/");
    frame(&client, r#"{"type":"hello"}"#, "");
    let of = |payload: &str| format!(r#"|{{"type":"message","room":"x"}}|{payload}"#);
    let joined = r#"|{"type":"joined","room":"x"}|"#.to_owned();
    let left = r#"|{"type":"left","room":"x"}|"#.to_owned();
    assert_eq!(got(&client)[1..], [joined.clone(), of("1"), "2".into(), left, joined, of("3")]);
}

#[test]
fn excluding_and_naming_works_across_both_kinds_of_members() {
    let bench = Bench::new(open_app());
    let (framed, plain) = (live(&bench, "/?id=ann"), bench.connect("/?id=bob"));
    for client in [&framed, &plain] {
        client.send("+x");
    }
    framed.seen();
    let room = bench.app.room("x");
    assert_eq!(bench.wait(room.broadcast("not for ann").exclude(["ann"])), 1);
    assert_eq!(bench.wait(room.broadcast("not for bob").exclude(["bob"])), 1);
    let outcome = bench.wait(room.broadcast_to(["ann", "bob", "eve"], "named"));
    assert_eq!((outcome.count, outcome.unknown), (2, vec!["eve".to_owned()]));
    assert_eq!(plain.texts(), ["not for ann", "named"]);
    let of = |payload: &str| format!(r#"|{{"type":"message","room":"x"}}|{payload}"#);
    assert_eq!(got(&framed), [of("not for bob"), of("named")]);
    assert_eq!(bench.wait(bench.app.broadcast_to(["ann"], "of no room")), 1);
    assert_eq!(got(&framed), ["of no room"]);
}

#[test]
fn a_client_enters_publishes_and_leaves_by_itself_where_it_may() {
    let bench = Bench::new(open_app());
    let (client, plain) = (live(&bench, "/"), bench.connect("/"));
    plain.send("+x");
    frame(&client, JOIN, "");
    assert_eq!(got(&client), [r#"|{"type":"joined","room":"x"}|"#, r#"|{"type":"ack","id":1}|"#]);
    frame(&client, JOIN, "");
    assert_eq!(got(&client), [r#"|{"type":"ack","id":1}|"#]);
    frame(&client, PUBLISH, "hello\n");
    assert_eq!(got(&client), [r#"|{"type":"message","room":"x"}|hello|"#, r#"|{"type":"ack","id":3}|"#]);
    assert_eq!(plain.texts(), ["hello\n"]);
    frame(&client, LEAVE, "");
    assert_eq!(got(&client), [r#"|{"type":"left","room":"x"}|"#, r#"|{"type":"ack","id":2}|"#]);
    frame(&client, LEAVE, "");
    assert_eq!(got(&client), [r#"|{"type":"ack","id":2}|"#]);
    assert_eq!(bench.app.room("x").count(), 1);
}

#[test]
fn a_binary_payload_is_published_as_binary() {
    let bench = Bench::new(open_app());
    let (client, plain) = (live(&bench, "/"), bench.connect("/"));
    plain.send("+x");
    client.send_binary(&[framed(PUBLISH, "").as_bytes(), &[0xFF]].concat());
    assert_eq!(got(&plain), ["binary \u{FFFD}"]);
    assert_eq!(got(&client), [r#"|{"type":"ack","id":3}|"#]);
}

#[test]
fn what_the_application_does_not_permit_is_forbidden() {
    let forbidden =
        |id: u32, message: &str| format!(r#"|{{"type":"error","id":{id},"code":"forbidden","message":"{message}"}}|"#);
    let bench = Bench::new(App::new().live(true).ws("/", deaf));
    let client = live(&bench, "/");
    frame(&client, JOIN, "");
    frame(&client, PUBLISH, "hello");
    let no = "the application does not permit it";
    assert_eq!(got(&client), [forbidden(1, no), forbidden(3, no)]);

    let judge = async |_: WebSocket, room: Arc<str>| match &*room {
        "x" => Err(WebSocketException::from("members only").into()),
        "own" => Err(RequestError::new("not_yet", "opens at nine").into()),
        "fault" => Err(nexios::Error::msg("a secret")),
        "panic" => panic!("a secret"),
        "no" => Ok(false),
        _ => nexios::Result::Ok(true),
    };
    let outer = App::new().live(true).ws("/", deaf).authorize_join(judge);
    let bench = Bench::new(outer);
    let client = live(&bench, "/");
    for room in ["x", "own", "fault", "panic", "no", "yes"] {
        frame(&client, &format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#), "");
    }
    let error =
        |code: &str, message: &str| format!(r#"|{{"type":"error","id":1,"code":"{code}","message":"{message}"}}|"#);
    let failed = error("failed", "the server failed");
    let joined = r#"|{"type":"joined","room":"yes"}|"#.to_owned();
    let expected = [
        forbidden(1, "members only"),
        error("not_yet", "opens at nine"),
        failed.clone(),
        failed,
        forbidden(1, no),
        joined,
        r#"|{"type":"ack","id":1}|"#.into(),
    ];
    assert_eq!(got(&client), expected);
}

#[test]
fn a_client_leaves_a_room_of_the_application_only_where_it_may() {
    let may_leave = async |_: WebSocket, room: Arc<str>| match &*room {
        "kept" => Err(RequestError::new("kept", "stay").into()),
        room => nexios::Result::Ok(room == "free"),
    };
    let yes = async |_: WebSocket, _: Arc<str>| true;
    let near = WsRouter::with_prefix("/near").ws("/", obey).authorize_leave(may_leave);
    let bench = Bench::new(App::new().live(true).ws("/", obey).mount(near).authorize_join(yes));
    let leave = |client: &Client, room: &str| {
        frame(client, &format!(r#"{{"type":"leave","id":1,"room":"{room}"}}"#), "");
        got(client)
    };
    let error = |code: &str, message: &str| {
        vec![format!(r#"|{{"type":"error","id":1,"code":"{code}","message":"{message}"}}|"#)]
    };
    let no = || error("forbidden", "the application does not permit it");
    let left =
        |room: &str| vec![format!(r#"|{{"type":"left","room":"{room}"}}|"#), r#"|{"type":"ack","id":1}|"#.into()];
    for (target, room, answer) in [
        ("/", "free", no()),
        ("/near", "free", left("free")),
        ("/near", "kept", error("kept", "stay")),
        ("/near", "other", no()),
    ] {
        let client = live(&bench, target);
        client.send(&format!("+{room}"));
        got(&client);
        assert_eq!(leave(&client, room), answer, "{target} {room}");
        assert_eq!(bench.app.room(room).count(), usize::from(answer.len() == 1), "{target} {room}");
        client.reset();
    }
    // A room that the client asks for when it is in it already stays the application's.
    let client = live(&bench, "/");
    client.send("+x");
    frame(&client, JOIN, "");
    got(&client);
    assert_eq!(leave(&client, "x"), no());
    // Of a room that it was taken out of and has asked for again it is the one who decides.
    client.send("-x");
    frame(&client, JOIN, "");
    got(&client);
    assert_eq!(leave(&client, "x"), left("x"));
    assert_eq!(leave(&client, "never there"), [r#"|{"type":"ack","id":1}|"#]);
}

#[test]
fn the_nearest_routers_authorization_counts() {
    let near = WsRouter::with_prefix("/near").ws("/", deaf).authorize_join(async |_: WebSocket, _: Arc<str>| false);
    let far = WsRouter::with_prefix("/far").ws("/", deaf);
    let bench =
        Bench::new(App::new().live(true).mount(near).mount(far).authorize_join(async |_: WebSocket, _: Arc<str>| true));
    for (path, yes) in [("/near", false), ("/far", true)] {
        let client = live(&bench, path);
        frame(&client, JOIN, "");
        assert_eq!(got(&client).concat().contains("joined"), yes, "{path}");
    }
}

#[test]
fn in_a_room_one_thing_comes_after_another_and_other_rooms_do_not_wait() {
    let log = Log::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (asked, opened) = (log.clone(), gate.clone());
    let authorize = move |_: WebSocket, room: Arc<str>| {
        asked.add(&*room);
        let opened = opened.clone();
        async move {
            if &*room == "x" {
                let _permit = opened.acquire().await;
            }
            true
        }
    };
    let bench = Bench::new(App::new().live(true).ws("/", deaf).authorize_join(authorize));
    let client = live(&bench, "/");
    let other = r#"{"type":"join","id":9,"room":"y"}"#;
    send_all(&client, &[framed(JOIN, ""), framed(LEAVE, ""), framed(other, "")]);
    assert_eq!(log.take(), ["x", "y"]);
    assert_eq!(got(&client), [r#"|{"type":"joined","room":"y"}|"#, r#"|{"type":"ack","id":9}|"#]);
    gate.add_permits(1);
    assert_eq!(
        got(&client),
        [
            r#"|{"type":"joined","room":"x"}|"#,
            r#"|{"type":"ack","id":1}|"#,
            r#"|{"type":"left","room":"x"}|"#,
            r#"|{"type":"ack","id":2}|"#
        ]
    );
}

#[test]
fn a_leave_of_the_application_counts_instead_of_joins_that_wait() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = gate.clone();
    let authorize = move |_: WebSocket, _: Arc<str>| {
        let opened = opened.clone();
        async move { opened.acquire().await.map(|permit| permit.forget()).is_ok() }
    };
    let bench = Bench::new(App::new().live(true).ws("/", obey_quietly).authorize_join(authorize));
    let client = live(&bench, "/");
    // One is asked about, and one waits behind it.
    send_all(&client, &[framed(JOIN, ""), framed(r#"{"type":"join","id":4,"room":"x"}"#, "")]);
    client.send("-x");
    gate.add_permits(2);
    let taken = |id: u32| {
        let message = "the application has taken the client out of the room";
        format!(r#"|{{"type":"error","id":{id},"code":"forbidden","message":"{message}"}}|"#)
    };
    assert_eq!(got(&client), [taken(1), taken(4)]);
    assert_eq!(bench.app.room("x").count(), 0);
    // A later wish of the client counts again, and one for another room has counted all the time.
    send_all(&client, &[framed(r#"{"type":"join","id":5,"room":"y"}"#, "")]);
    client.send("-x");
    frame(&client, JOIN, "");
    gate.add_permits(2);
    assert_eq!(got(&client).len(), 4);
    assert_eq!((bench.app.room("x").count(), bench.app.room("y").count()), (1, 1));
    // A leave of the client takes back nothing that the application has begun.
    client.send("-x");
    client.send("+x");
    assert_eq!(bench.app.room("x").count(), 1);
}

#[test]
fn a_room_whose_name_is_too_long_for_a_frame_is_not_entered_by_a_framed_client() {
    let quiet = Bench::new(App::new().live(true).ws("/", obey_quietly));
    let (framed, plain) = (live(&quiet, "/"), quiet.connect("/"));
    let (long, escaped) = ("x".repeat(140_000), "\u{1}".repeat(30_000));
    for room in [&long, &escaped] {
        framed.send(&format!("+{room}"));
        assert_eq!((got(&framed).len(), quiet.app.room(room).count()), (0, 0));
        plain.send(&format!("+{room}"));
        assert_eq!(quiet.app.room(room).count(), 1);
        quiet.wait(quiet.app.room(room).broadcast("hello"));
        assert_eq!((got(&framed).len(), plain.texts()), (0, vec!["hello".to_owned()]));
    }
    framed.send("+x");
    assert_eq!(got(&framed), [r#"|{"type":"joined","room":"x"}|"#]);
}

/// Leaves a room, whether it is in it or not, or joins it.
async fn obey_quietly(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let order = ws.receive_text().await?;
        match order.split_at_checked(1) {
            Some(("-", room)) => _ = ws.leave(room).await,
            Some((_, room)) => _ = ws.join(room).await,
            None => {}
        }
    }
}

#[test]
fn a_client_asks_itself_into_a_thousand_rooms_at_most() {
    let bench = Bench::new(open_app());
    let client = live(&bench, "/");
    for room in 0..1000 {
        frame(&client, &format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#), "");
    }
    assert_eq!(got(&client).len(), 2000);
    frame(&client, JOIN, "");
    assert!(got(&client)[0].contains(r#""code":"forbidden""#));
    client.send("+x");
    assert_eq!(got(&client), [r#"|{"type":"joined","room":"x"}|"#]);
}

#[test]
fn a_key_has_a_limit() {
    let bench = Bench::new(open_app());
    let client = live(&bench, "/");
    for (len, answer) in [(128, "ack"), (129, "error")] {
        let key = "k".repeat(len);
        frame(&client, &format!(r#"{{"type":"publish","id":1,"room":"x","key":"{key}"}}"#), "");
        assert!(got(&client)[0].starts_with(&format!(r#"|{{"type":"{answer}","id":1"#)), "{len}");
    }
}

#[test]
fn a_slow_framed_client_is_told_what_it_misses_and_the_application_what_it_sent() {
    let log = Log::default();
    let drops = log.clone();
    let listener = move |_: WebSocket, messages: Vec<Message>| {
        let all: Vec<usize> = messages.iter().map(Message::len).collect();
        drops.note(format!("{all:?}"))
    };
    let app = App::new().live(true).ws("/", obey).slow_client(SlowClient::DropNewest).on_drop(listener);
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    client.send("+x");
    client.seen();
    let big = "x".repeat(300 << 10);
    for _ in 0..6 {
        bench.wait(bench.app.room("x").broadcast(big.clone()));
        bench.run();
    }
    let dropped = log.take();
    assert!(!dropped.is_empty() && dropped.iter().all(|line| *line == format!("[{}]", big.len())), "{dropped:?}");
    let (mut messages, mut missed) = (0, 0);
    for _ in 0..10 {
        for text in got(&client) {
            messages += usize::from(text.starts_with(r#"|{"type":"message","room":"x"}|"#));
            missed += usize::from(text == r#"|{"type":"gap","room":"x","missed":1}|"#);
        }
    }
    assert_eq!((messages + missed, missed), (6, dropped.len()));
}
