//! Rooms: semantics, "rooms".

use nexios::{App, WebSocket, WsRouter};

use crate::bench::{Bench, Log};

/// Joins and leaves as the client says: `+room`, `-room`, or sends the list of its rooms.
async fn obey(ws: WebSocket) -> nexios::Result {
    assert!(!ws.join("early").await);
    ws.accept().await?;
    loop {
        let order = ws.receive_text().await?;
        match order.split_at_checked(1) {
            Some(("+", room)) => assert!(ws.join(room).await),
            Some(("-", room)) => assert!(ws.leave(room).await),
            _ => ws.send_text(ws.rooms().join(",")).await?,
        }
    }
}

#[test]
fn a_room_is_the_apps_and_reaches_its_members_only() {
    let (a, b) = (WsRouter::with_prefix("/a").ws("/", obey), WsRouter::with_prefix("/b").ws("/", obey));
    let of_a = a.handle();
    let bench = Bench::new(App::new().mount(a).mount(b));
    let (in_a, in_b, outside) = (bench.connect("/a"), bench.connect("/b"), bench.connect("/b"));
    in_a.send("+x");
    in_a.send("+x");
    in_b.send("+x");
    in_b.send("+y");
    let room = of_a.room("x");
    assert_eq!((room.name(), room.count(), bench.app.room("x").count()), ("x", 2, 2));
    assert_eq!(bench.wait(room.broadcast("hi")), 2);
    assert_eq!(bench.wait(room.members()).len(), 2);
    assert_eq!(bench.wait(bench.app.room("empty").broadcast("hi")), 0);
    assert_eq!((in_a.texts(), in_b.texts(), outside.texts().len()), (vec!["hi".into()], vec!["hi".into()], 0));
    in_b.send("?");
    assert_eq!(in_b.texts(), ["x,y"]);
}

#[test]
fn leaving_is_by_hand_or_by_disconnect() {
    let bench = Bench::new(App::new().ws("/", obey));
    let (a, b) = (bench.connect("/"), bench.connect("/"));
    a.send("+x");
    b.send("+x");
    let room = bench.app.room("x");
    a.send("-x");
    assert_eq!(room.count(), 1);
    a.send("+x");
    b.reset();
    assert_eq!(room.count(), 1);
    a.close(1000, "");
    assert_eq!(room.count(), 0);
    assert!(bench.wait(room.members()).is_empty());
    // The name can be used again.
    let c = bench.connect("/");
    c.send("+x");
    assert_eq!(bench.wait(room.broadcast("again")), 1);
    assert_eq!(c.texts(), ["again"]);
}

#[test]
fn a_message_to_named_members_does_not_reach_others() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.set_client_id(ws.query("id").unwrap_or_default());
        ws.accept().await?;
        ws.join("x").await;
        if ws.query("id").as_deref() == Some("eve") {
            ws.leave("x").await;
        }
        ws.wait_closed().await;
        Ok(())
    });
    let bench = Bench::new(app);
    let (ann, eve) = (bench.connect("/?id=ann"), bench.connect("/?id=eve"));
    let outcome = bench.wait(bench.app.room("x").broadcast_to(["ann", "eve"], "hi"));
    assert_eq!((outcome.count, outcome.unknown), (1, vec!["eve".to_owned()]));
    assert_eq!((ann.texts().len(), eve.texts().len()), (1, 0));
}

#[test]
fn a_room_is_joined_and_left_as_a_room_or_by_its_name() {
    let log = Log::default();
    let seen = log.clone();
    let bench = Bench::new(App::new().ws("/", move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            ws.accept().await?;
            let room = ws.app().room("x");
            seen.add(format!("{} {:?}", ws.join(&room).await, ws.rooms()));
            seen.add(format!("{} {:?}", ws.leave("x").await, ws.rooms()));
            seen.add(format!("{} {:?}", ws.join_from(&room, None).await.is_some(), ws.rooms()));
            seen.add(format!("{} {:?}", ws.leave(room).await, ws.rooms()));
            nexios::Result::Ok(())
        }
    }));
    bench.connect("/").closed();
    assert_eq!(log.take(), [r#"true ["x"]"#, "true []", r#"true ["x"]"#, "true []"]);
}
