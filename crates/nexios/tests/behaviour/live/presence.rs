//! Presence, as framed clients ask for it and are told of it.

use std::sync::Arc;

use nexios::{App, RequestError, WebSocket, WsRouter};

use super::{frame, got, live};
use crate::bench::{Bench, Client};

/// Obeys `+room` and `-room`; anything else is a status that is tracked in the room `x`.
async fn obey(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.query("id").unwrap_or_default());
    ws.accept().await?;
    loop {
        let order = ws.receive_text().await?;
        match order.split_at_checked(1) {
            Some(("+", room)) => assert!(ws.join(room).await),
            Some(("-", room)) => assert!(ws.leave(room).await),
            _ => ws.app().room("x").track(&ws, &serde_json::json!({"status": &*order})).await?,
        }
    }
}

fn ask(client: &Client, id: u32) -> Vec<String> {
    frame(client, &format!(r#"{{"type":"presence","id":{id},"room":"x"}}"#), "");
    got(client)
}

fn change(event: &str, user: &str, status: &str) -> String {
    format!(r#"|{{"type":"presence","room":"x","event":"{event}","user":"{user}","data":{{"status":"{status}"}}}}|"#)
}

#[test]
fn a_client_that_has_asked_is_told_of_each_change_until_it_leaves_the_room() {
    let may_see = async |_: WebSocket, room: Arc<str>| &*room == "x";
    let bench = Bench::new(App::new().live(true).ws("/", obey).authorize_presence(may_see));
    let (ann, bob) = (live(&bench, "/?id=ann"), bench.connect("/?id=bob"));
    let denied = r#"|{"type":"error","id":1,"code":"forbidden","message":"the connection is not in the room"}|"#;
    assert_eq!(ask(&ann, 1), [denied]);
    ann.send("+x");
    bob.send("+x");
    ann.send("here");
    assert_eq!(got(&ann), [r#"|{"type":"joined","room":"x"}|"#], "nobody has asked");
    let users = r#"[{"user":"ann","data":{"status":"here"}}]"#;
    for id in [2, 3] {
        assert_eq!(ask(&ann, id), [format!(r#"|{{"type":"reply","id":{id}}}|{users}"#)]);
    }
    bob.send("new");
    assert_eq!(got(&ann), [change("join", "bob", "new")]);
    bob.send("busy");
    assert_eq!(got(&ann), [change("join", "bob", "busy")]);
    bob.reset();
    assert_eq!(got(&ann), [change("leave", "bob", "busy")]);
    ann.send("-x");
    assert_eq!(got(&ann), [r#"|{"type":"left","room":"x"}|"#]);
    let eve = bench.connect("/?id=eve");
    eve.send("+x");
    eve.send("here");
    assert!(got(&ann).is_empty());
}

#[test]
fn a_client_watches_so_many_rooms_at_a_time() {
    for (app, max) in [(App::new(), 100), (App::new().watched_rooms_max(Some(2)), 2)] {
        let bench = Bench::new(app.live(true).ws("/", obey).authorize_presence(async |_: WebSocket, _: Arc<str>| true));
        let ann = live(&bench, "/?id=ann");
        let watch = |room: usize| {
            frame(&ann, &format!(r#"{{"type":"presence","id":1,"room":"{room}"}}"#), "");
            got(&ann).pop().unwrap()
        };
        for room in 0..=max {
            ann.send(&format!("+{room}"));
            got(&ann);
        }
        for room in 0..max {
            assert_eq!(watch(room), r#"|{"type":"reply","id":1}|[]"#);
        }
        let message = format!("a client may watch the presence of {max} rooms at a time");
        let denied = format!(r#"|{{"type":"error","id":1,"code":"forbidden","message":"{message}"}}|"#);
        assert_eq!(watch(max), denied);
        assert_eq!(watch(0), r#"|{"type":"reply","id":1}|[]"#, "it watches this one already");
        ann.send("-0");
        got(&ann);
        assert_eq!(watch(max), r#"|{"type":"reply","id":1}|[]"#);
    }
}

#[test]
fn who_is_in_a_room_is_for_the_application_to_say() {
    let near = WsRouter::with_prefix("/near").ws("/", obey).authorize_presence(async |ws: WebSocket, _: Arc<str>| {
        match ws.client_id().as_deref() {
            Some("eve") => Err(RequestError::new("not_you", "go away").into()),
            name => nexios::Result::Ok(name == Some("ann")),
        }
    });
    let bench = Bench::new(App::new().live(true).ws("/", obey).mount(near));
    let denied =
        |code: &str, message: &str| format!(r#"|{{"type":"error","id":1,"code":"{code}","message":"{message}"}}|"#);
    let no = denied("forbidden", "the application does not permit it");
    let none = r#"|{"type":"reply","id":1}|[]"#.to_owned();
    let cases = [
        ("/?id=ann", &no),
        ("/near?id=bob", &no),
        ("/near?id=eve", &denied("not_you", "go away")),
        ("/near?id=ann", &none),
    ];
    for (target, answer) in cases {
        let client = live(&bench, target);
        client.send("+x");
        got(&client);
        assert_eq!(ask(&client, 1).concat(), *answer, "{target}");
        let other = bench.connect("/?id=other");
        other.send("+x");
        other.send("here");
        assert_eq!(!got(&client).is_empty(), *answer == none, "{target}: changes are told with the answer only");
        other.reset();
    }
}
