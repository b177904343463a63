//! Presence: semantics, "presence". Of one node; `tests/broker` has several.

use std::time::Duration;

use nexios::{
    App, WebSocket, WsRouter,
    presence::{PresenceError, PresenceEvent},
};
use serde_json::{Value, json};

use crate::bench::{Bench, Log, Seen};

/// Joins `x` as the user of the path, and does as it is told; at a hang-up it goes on.
async fn obey(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.path_param::<String>("user")?);
    ws.accept().await?;
    ws.join("x").await;
    let room = ws.app().room("x");
    while let Ok(order) = ws.receive_text().await {
        match order.split_at_checked(1) {
            Some(("+", data)) => room.track(&ws, &data).await?,
            Some(("-", _)) => assert!(room.untrack(&ws).await),
            Some(("L", _)) => assert!(ws.leave("x").await),
            _ => break,
        }
    }
    std::future::pending().await
}

fn logging(app: App, log: &Log) -> App {
    let (join, leave) = (log.clone(), log.clone());
    let line = |what: &str, event: &PresenceEvent| {
        assert!(event.here && event.kind.name() == what);
        format!("{what} {} {} {}", event.room, event.user, event.data)
    };
    app.on_join(move |event: PresenceEvent| join.note(line("join", &event)))
        .on_leave(move |event: PresenceEvent| leave.note(line("leave", &event)))
}

fn present(bench: &Bench) -> Vec<(String, String, usize)> {
    let room = bench.app.room("x");
    let present = bench.wait(room.presence());
    assert_eq!(present.len(), bench.wait(room.presence_count()));
    let row =
        |present: nexios::presence::Present| (present.user.to_string(), present.data.to_string(), present.connections);
    present.into_iter().map(row).collect()
}

fn row(user: &str, data: &str, connections: usize) -> (String, String, usize) {
    (user.to_owned(), format!("{data:?}"), connections)
}

#[test]
fn several_tabs_are_one_user_with_the_newest_data() {
    let log = Log::default();
    let bench = Bench::new(logging(App::new(), &log).ws("/{user}", obey));
    let (one, other, bob) = (bench.connect("/ann"), bench.connect("/ann"), bench.connect("/bob"));
    assert!(present(&bench).is_empty());
    one.send("+1");
    other.send("+2");
    bob.send("+3");
    assert_eq!(present(&bench), [row("ann", "2", 2), row("bob", "3", 1)]);
    other.send("+4");
    assert_eq!(present(&bench)[0], row("ann", "4", 2));
    other.send("-");
    assert_eq!(present(&bench)[0], row("ann", "1", 1));
    one.send("-");
    assert_eq!(log.take(), ["join x ann \"1\"", "join x bob \"3\"", "leave x ann \"1\""]);
    one.send("+5");
    assert_eq!(log.take(), ["join x ann \"5\""]);
}

#[test]
fn leaving_the_room_or_hanging_up_ends_it_although_the_handler_goes_on() {
    let log = Log::default();
    let bench = Bench::new(logging(App::new(), &log).ws("/{user}", obey));
    let (ann, bob, eve) = (bench.connect("/ann"), bench.connect("/bob"), bench.connect("/eve"));
    [&ann, &bob, &eve].iter().for_each(|client| client.send("+1"));
    log.take();
    ann.send("L");
    assert_eq!(log.take(), ["leave x ann \"1\""]);
    bob.reset();
    assert_eq!(log.take(), ["leave x bob \"1\""]);
    eve.close(1000, "");
    assert_eq!(log.take(), ["leave x eve \"1\""]);
    assert!(present(&bench).is_empty());
}

fn delayed(log: &Log) -> App {
    logging(App::new().leave_delay(Duration::from_secs(2)), log).ws("/{user}", obey)
}

#[test]
fn a_user_who_is_back_within_the_delay_has_neither_left_nor_joined() {
    let log = Log::default();
    let bench = Bench::new(delayed(&log));
    let mut client = bench.connect("/ann");
    client.send("+1");
    for n in 2..5 {
        client.reset();
        bench.advance(Duration::from_millis(1900));
        assert_eq!(present(&bench), [row("ann", &(n - 1).to_string(), 1)]);
        client = bench.connect("/ann");
        client.send(&format!("+{n}"));
        // The new connection stands for the one that is gone.
        assert_eq!(present(&bench), [row("ann", &n.to_string(), 1)]);
    }
    bench.advance(Duration::from_secs(5));
    assert_eq!(log.take(), ["join x ann \"1\""]);
    client.send("-");
    assert_eq!(log.take(), ["leave x ann \"4\""], "who leaves does so at once");
}

#[test]
fn a_user_who_does_not_come_back_leaves_after_the_delay() {
    let log = Log::default();
    let bench = Bench::new(delayed(&log));
    let (one, other) = (bench.connect("/ann"), bench.connect("/ann"));
    one.send("+1");
    other.send("+2");
    one.reset();
    bench.advance(Duration::from_secs(1));
    other.close(1000, "");
    assert_eq!(present(&bench), [row("ann", "2", 2)]);
    bench.advance(Duration::from_millis(1100));
    assert_eq!(present(&bench), [row("ann", "2", 1)]);
    assert_eq!(log.take(), ["join x ann \"1\""]);
    bench.advance(Duration::from_secs(1));
    assert!(present(&bench).is_empty());
    assert_eq!(log.take(), ["leave x ann \"2\""]);
}

#[test]
fn leaving_the_room_knows_no_delay_and_the_end_of_the_app_neither() {
    let log = Log::default();
    let bench = Bench::new(delayed(&log));
    let clients = ["/ann", "/bob", "/eve"].map(|path| bench.connect(path));
    clients.iter().for_each(|client| client.send("+1"));
    log.take();
    clients[0].send("L");
    assert_eq!(log.take(), ["leave x ann \"1\""]);
    clients[1].reset();
    bench.run();
    assert_eq!(log.take(), Vec::<String>::new());
    bench.shard.close_all(Duration::ZERO);
    clients[2].reset();
    bench.run();
    assert_eq!(log.take(), ["leave x bob \"1\"", "leave x eve \"1\""]);
}

#[test]
fn the_delay_of_the_nearest_router_counts() {
    let log = Log::default();
    let near = WsRouter::with_prefix("/near").leave_delay(Duration::ZERO).ws("/{user}", obey);
    let bench = Bench::new(delayed(&log).mount(near));
    let client = bench.connect("/near/ann");
    client.send("+1");
    client.reset();
    assert_eq!(log.take(), ["join x ann \"1\"", "leave x ann \"1\""]);
}

#[test]
fn a_user_without_a_client_id_is_its_connection_and_a_new_client_id_another_user() {
    let log = Log::default();
    let app = logging(App::new(), &log).ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.join("x").await;
        let room = ws.app().room("x");
        room.track(&ws, &Value::Null).await?;
        assert_eq!(*room.presence().await[0].user, *ws.id().to_string());
        ws.set_client_id("ann");
        room.track(&ws, &json!({"status": "busy"})).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let bench = Bench::new(app);
    let _client = bench.connect("/");
    let room = bench.app.room("x");
    let present = bench.wait(room.presence());
    let status: Value = present[0].data.parse().unwrap();
    assert_eq!((&*present[0].user, &status["status"], present.len()), ("ann", &json!("busy"), 1));
    let told = log.take();
    assert!(told[0].starts_with("join x ") && told[1].starts_with("leave x "), "{told:?}");
    assert_eq!(told[2], "join x ann {\"status\":\"busy\"}");
}

#[test]
fn who_is_not_in_the_room_or_brings_too_much_is_not_tracked() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let room = ws.app().room("x");
        let error = room.track(&ws, &1).await.unwrap_err();
        assert_eq!(error.to_string(), "the connection is not in the room \"x\": join it first");
        ws.join("x").await;
        let error = room.track(&ws, &"x".repeat(4095)).await.unwrap_err();
        assert!(matches!(error, PresenceError::DataTooLong(4097)), "{error}");
        ws.set_client_id("x".repeat(1025));
        assert!(matches!(room.track(&ws, &1).await, Err(PresenceError::UserTooLong(1025))));
        assert!(!room.untrack(&ws).await && room.presence_count().await == 0);
        ws.send_text("done").await?;
        Ok(())
    });
    let client = Bench::new(app).connect("/");
    assert_eq!(client.seen()[0], crate::bench::Seen::Text("done".into()));
}

#[test]
fn listeners_of_all_routers_are_told_one_event_after_another() {
    let log = Log::default();
    let (of_app, of_router) = (log.clone(), log.clone());
    let router = WsRouter::with_prefix("/r").ws("/{user}", obey).on_join(move |event: PresenceEvent| {
        let log = of_router.clone();
        async move {
            pause().await;
            log.add(format!("router {}", event.user));
        }
    });
    let app = App::new().mount(router).on_join(move |event: PresenceEvent| of_app.note(format!("app {}", event.user)));
    let bench = Bench::new(app);
    let clients = [bench.connect("/r/ann"), bench.connect("/r/bob")];
    clients.iter().for_each(|client| client.send("+1"));
    bench.advance(Duration::from_millis(1));
    assert_eq!(log.take(), ["app ann", "router ann", "app bob", "router bob"]);
}

/// Lets others run first.
async fn pause() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::take(&mut is_first) { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
}

#[test]
fn a_connection_tracks_itself_in_a_room_that_it_names_or_has_once_it_has_joined() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        assert!(!ws.join("x").await, "nobody joins before accept()");
        ws.accept().await?;
        assert!(matches!(ws.track("x", &1).await, Err(PresenceError::NotInRoom(_))));
        let room = ws.app().room("x");
        assert!(ws.join(&room).await);
        ws.track("x", &1).await?;
        assert_eq!(room.presence().await[0].data.as_str(), "1");
        ws.track(&room, &2).await?;
        assert_eq!(room.presence().await[0].data.as_str(), "2");
        assert!(ws.untrack("x").await && !ws.untrack(&room).await);
        assert_eq!(room.presence_count().await, 0);
        ws.send_text("done").await?;
        Ok(())
    });
    let bench = Bench::new(app);
    assert_eq!(bench.connect("/").seen()[0], Seen::Text("done".into()));
}
