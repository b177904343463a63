//! Rate limits, and settings that a router or route changes.

use std::time::Duration;

use nexios::{App, Message, RateLimit, Route, WebSocket, WsRouter, rate_limit::OnExcess};

use crate::bench::{Bench, Client, Log};

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
    }
}

async fn never_receives(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

fn app(limit: RateLimit, log: &Log) -> App {
    let heard = log.clone();
    let listener = move |_: WebSocket, message: Message| heard.note(message.as_text().unwrap_or(""));
    let router = WsRouter::new().middleware(limit).ws("/", echo).ws("/deaf", never_receives);
    App::new().mount(router).on_message(listener)
}

fn send(client: &Client, count: usize) {
    (0..count).for_each(|n| client.send(&n.to_string()));
}

#[test]
fn over_the_message_limit_closes_1008_before_anybody_sees_the_message() {
    let log = Log::default();
    let bench = Bench::new(app(RateLimit::messages(3), &log));
    for path in ["/", "/deaf"] {
        let client = bench.connect(path);
        send(&client, 3);
        assert_eq!(log.take(), ["0", "1", "2"]);
        client.send("too much");
        assert_eq!(client.closed(), (1008, "Rate limit exceeded".into()));
        assert!(log.take().is_empty());
    }
}

#[test]
fn the_message_limit_is_each_connections_own_and_fills_up_again() {
    let log = Log::default();
    let bench = Bench::new(app(RateLimit::messages(2), &log));
    let (a, b) = (bench.connect("/"), bench.connect("/"));
    send(&a, 2);
    send(&b, 2);
    bench.advance(Duration::from_secs(1));
    send(&a, 2);
    assert_eq!((a.texts().len(), b.texts().len()), (4, 2));
}

#[test]
fn dropped_messages_are_neither_heard_nor_received_but_counted() {
    let log = Log::default();
    let limit = RateLimit::messages(2).on_excess(OnExcess::Drop);
    let bench = Bench::new(app(limit.clone(), &log));
    let client = bench.connect("/");
    send(&client, 5);
    assert_eq!(client.texts(), ["0", "1"]);
    assert_eq!(log.take(), ["0", "1"]);
    assert_eq!(limit.dropped(), 3);
    bench.advance(Duration::from_secs(1));
    client.send("later");
    assert_eq!(client.texts(), ["later"]);
}

#[test]
fn waiting_messages_are_handed_out_in_their_time_and_in_order() {
    let log = Log::default();
    let bench = Bench::new(app(RateLimit::messages(2).on_excess(OnExcess::Wait), &log));
    let client = bench.connect("/");
    send(&client, 6);
    assert_eq!(client.texts(), ["0", "1"]);
    bench.advance(Duration::from_millis(1050));
    assert_eq!(client.texts(), ["2", "3"]);
    bench.advance(Duration::from_secs(3));
    assert_eq!(client.texts(), ["4", "5"]);
}

#[test]
fn connections_that_share_a_key_share_the_limit() {
    let log = Log::default();
    let limit = RateLimit::messages(2).key_by(|ws| ws.query("user").unwrap_or_default());
    let bench = Bench::new(app(limit, &log));
    let (a, b, c) = (bench.connect("/?user=ann"), bench.connect("/?user=ann"), bench.connect("/?user=bob"));
    send(&a, 1);
    send(&b, 1);
    send(&c, 2);
    b.send("too much");
    assert_eq!(b.closed().0, 1008);
    assert_eq!((a.texts().len(), c.texts().len()), (1, 2));
}

#[test]
fn handshakes_are_limited_by_host() {
    let close = RateLimit::handshakes(1).per(Duration::from_secs(10));
    let drop = close.clone().on_excess(OnExcess::Drop).by_host();
    let app = App::new()
        .route(Route::new("/close", never_receives).middleware(close))
        .route(Route::new("/drop", never_receives).middleware(drop));
    let bench = Bench::new(app);
    assert!(bench.connect("/close").seen().is_empty());
    assert_eq!(bench.connect("/close").closed(), (1008, "Rate limit exceeded".into()));
    // A clone counts together with its original.
    let refused = bench.refused("/drop");
    assert_eq!(refused.status, 429);
    let retry_after = refused.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    assert_eq!(retry_after.map(|(_, seconds)| seconds.as_str()), Some("10"));
    bench.advance(Duration::from_secs(10));
    assert!(bench.connect("/drop").seen().is_empty());
}

#[test]
fn a_routes_settings_hold_for_its_connections() {
    let small = Route::new("/small", echo).settings(|settings| settings.message_bytes_max = Some(4));
    let bench = Bench::new(App::new().route(small).ws("/", echo));
    let (strict, other) = (bench.connect("/small"), bench.connect("/"));
    other.send("12345");
    assert_eq!(other.texts(), ["12345"]);
    strict.send("12345");
    assert_eq!(strict.closed().0, 1009);
}

#[test]
fn a_connection_without_its_request_head_still_has_its_parameters() {
    let route = Route::new("/{room}/{id:int}", async |ws: WebSocket| {
        ws.accept().await?;
        let (room, id): (String, u32) = (ws.path_param("room")?, ws.path_param("id")?);
        ws.send_text(format!("{room} {id} {:?} {:?}", ws.header("host"), ws.path())).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let bench = Bench::new(App::new().route(route.settings(|settings| settings.keep_head = false)));
    assert_eq!(bench.connect("/general/7").texts(), ["general 7 None \"\""]);
}
