//! Presence, as framed clients ask for it and are told of it.

use nexios::{App, WebSocket};

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
    let bench = Bench::new(App::new().ws("/", obey));
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
