//! Listeners: semantics, `on("connect")`, `on("disconnect")`, `on("message")`, `on("drop")`.

use std::time::Duration;

use nexios::{App, Message, SlowClient, WebSocket, WsRouter};

use crate::bench::{Bench, Log};

async fn receive_all(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

async fn only_events(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

fn logging(app: App, log: &Log) -> App {
    let (connect, disconnect, message) = (log.clone(), log.clone(), log.clone());
    app.on_connect(move |ws: WebSocket| {
        connect.add(format!("connect {:?}", ws.connection_state()));
        async move { ws.send_text("welcome").await.map_err(nexios::Error::from) }
    })
    .on_disconnect(move |ws: WebSocket| {
        disconnect.add(format!("disconnect {:?} {:?}", ws.close_code(), ws.close_reason()));
        std::future::ready(())
    })
    .on_message(move |_: WebSocket, received: Message| {
        message.add(format!("message {}", received.as_text().unwrap()));
        std::future::ready(())
    })
}

#[test]
fn connect_comes_before_accept_returns_and_disconnect_once_with_its_code() {
    let log = Log::default();
    let handler_log = log.clone();
    let app = logging(App::new(), &log).ws("/", move |ws: WebSocket| {
        let log = handler_log.clone();
        async move {
            ws.accept().await?;
            log.add("accepted");
            only_receive(&ws).await
        }
    });
    let client = Bench::new(app).connect("/");
    assert_eq!(client.texts(), ["welcome"]);
    client.send("hi");
    client.close(4000, "bye");
    assert_eq!(log.take(), ["connect Connected", "accepted", "message hi", "disconnect Some(4000) Some(\"bye\")"]);
}

async fn only_receive(ws: &WebSocket) -> nexios::Result {
    loop {
        ws.receive().await?;
    }
}

#[test]
fn messages_are_heard_where_the_handler_never_receives() {
    let log = Log::default();
    let bench = Bench::new(logging(App::new(), &log).ws("/", only_events));
    let client = bench.connect("/");
    log.take();
    // More than the inbox holds: what was heard is thrown away.
    let texts: Vec<String> = (0..200).map(|n| format!("message {n}")).collect();
    (0..200).for_each(|n| client.send(&n.to_string()));
    assert_eq!(log.take(), texts);
}

#[test]
fn a_message_is_heard_before_it_is_received_even_if_the_listener_waits() {
    let log = Log::default();
    let heard = log.clone();
    let app = App::new().ws("/", receive_all).on_message(move |ws: WebSocket, message: Message| {
        let heard = heard.clone();
        async move {
            // Longer than the handler needs.
            ws.ping().await?;
            heard.add(message.as_text().unwrap());
            Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    client.send("a");
    client.send("b");
    assert!(log.take().is_empty());
    assert_eq!(client.seen().len(), 1); // the first ping
    let mut echoes = Vec::new();
    while echoes.len() < 2 {
        echoes.extend(client.seen().into_iter().filter(|seen| *seen != crate::bench::Seen::Ping));
    }
    assert_eq!(log.take(), ["a", "b"]);
}

#[test]
fn an_error_in_a_message_listener_goes_to_the_exception_handlers_and_the_connection_lives_on() {
    let log = Log::default();
    let caught = log.clone();
    let router = WsRouter::new()
        .ws("/", receive_all)
        .on_message(async |_: WebSocket, message: Message| {
            message.as_text().unwrap_or("").parse::<u8>()?;
            Ok(())
        })
        .exception_handler(move |_: WebSocket, error: std::num::ParseIntError| {
            caught.add(error.to_string());
            std::future::ready(())
        });
    let client = Bench::new(App::new().mount(router)).connect("/");
    client.send("x");
    client.send("1");
    assert_eq!(client.texts(), ["x", "1"]);
    assert_eq!(log.take(), ["invalid digit found in string"]);
}

#[test]
fn an_error_in_a_connect_listener_is_raised_from_accept_and_disconnect_still_comes() {
    let log = Log::default();
    let ends = log.clone();
    let app = App::new()
        .ws("/", async |ws: WebSocket| ws.accept().await)
        .on_connect(async |_: WebSocket| Err(nexios::WebSocketException::from("not today").into()))
        .on_disconnect(move |ws: WebSocket| {
            let code = ws.close_code();
            ends.note(format!("{code:?}"))
        });
    let client = Bench::new(app).connect("/");
    assert_eq!(client.closed(), (1008, "not today".into()));
    client.seen();
    assert_eq!(log.take(), ["Some(1008)"]);
}

#[test]
fn listeners_of_all_levels_run_from_the_outside_in() {
    let log = Log::default();
    let add = |line: &'static str| {
        let log = log.clone();
        move |_: WebSocket| log.note(line)
    };
    let inner = WsRouter::new().ws("/", only_events).on_connect(add("inner")).on_connect(add("inner, second"));
    let app = App::new().mount(WsRouter::new().on_connect(add("outer")).mount(inner)).on_connect(add("app"));
    let _client = Bench::new(app).connect("/");
    assert_eq!(log.take(), ["app", "outer", "inner", "inner, second"]);
}

#[test]
fn disconnect_comes_while_the_handler_is_still_busy() {
    let log = Log::default();
    let ends = log.clone();
    let app = App::new()
        .ws("/", async |ws: WebSocket| {
            ws.accept().await?;
            std::future::pending::<()>().await;
            Ok(())
        })
        .on_disconnect(move |_: WebSocket| ends.note("disconnect"));
    Bench::new(app).connect("/").reset();
    assert_eq!(log.take(), ["disconnect"]);
}

#[test]
fn a_panic_in_a_message_listener_closes_1011_and_disconnect_still_comes() {
    let log = Log::default();
    let ends = log.clone();
    let app = App::new()
        .ws("/", only_events)
        .on_message(async |_: WebSocket, _: Message| {
            panic!("a bug");
            #[expect(unreachable_code, reason = "says what the listener returns")]
            Ok(())
        })
        .on_disconnect(move |_: WebSocket| ends.note("disconnect"));
    let client = Bench::new(app).connect("/");
    client.send("x");
    assert_eq!(client.closed(), (1011, String::new()));
    client.seen();
    assert_eq!(log.take(), ["disconnect"]);
}

#[test]
fn what_a_slow_client_does_not_get_is_told() {
    let log = Log::default();
    let drops = log.clone();
    let app = App::new()
        .ws("/", only_events)
        .slow_client(SlowClient::DropNewest)
        .settings(|settings| settings.outbox_mark_bytes = 1000)
        .on_drop(move |_: WebSocket, messages: Vec<Message>| {
            messages.iter().for_each(|message| drops.add(message.len().to_string()));
            std::future::ready(())
        });
    let bench = Bench::new(app);
    let (slow, fast) = (bench.connect("/"), bench.connect("/"));
    let mut dropped = 0;
    for n in 0..20 {
        let outcome = bench.wait(bench.app.broadcast(vec![n; 100_000]));
        assert_eq!(outcome.count + outcome.dropped, 2);
        dropped += outcome.dropped;
        bench.run();
        assert_eq!(fast.seen().len(), 1);
    }
    assert!(dropped > 5, "{dropped}");
    bench.advance(Duration::from_millis(100));
    assert_eq!(log.take(), vec!["100000"; dropped]);
    // What fits into the pipe, then what waits behind it.
    assert_eq!(slow.seen().len() + slow.seen().len(), 20 - dropped);
}

#[test]
fn an_outcome_counts_as_dropped_who_is_above_the_mark_at_the_call() {
    let log = Log::default();
    let drops = log.clone();
    let app = App::new()
        .ws("/", only_events)
        .slow_client(SlowClient::DropNewest)
        .settings(|settings| settings.outbox_mark_bytes = 60_000)
        .on_drop(move |_: WebSocket, messages: Vec<Message>| {
            messages.iter().for_each(|message| drops.add(message.len().to_string()));
            std::future::ready(())
        });
    let bench = Bench::new(app);
    let _client = bench.connect("/");
    let id = bench.wait(bench.app.connections())[0].id();
    let counts = |bytes: usize| {
        let outcome = bench.wait(bench.app.broadcast(vec![0; bytes]));
        (outcome.count, outcome.dropped)
    };
    // Fills the pipe, then most of the room below the mark.
    assert_eq!(counts((1 << 20) - 100), (1, 0));
    assert_eq!(counts(50_000), (1, 0));
    bench.run();
    // Both in one turn: the first overfills it, so that the second is dropped, which nobody knows yet.
    assert_eq!([counts(20_000), counts(20_001)], [(1, 0), (1, 0)]);
    bench.run();
    assert_eq!(log.take(), ["20001"]);
    assert_eq!(counts(20_002), (0, 1));
    bench.run();
    assert_eq!(log.take(), ["20002"]);
    // Who is excluded is neither counted nor dropped.
    let outcome = bench.wait(bench.app.broadcast("x").exclude([id]));
    assert_eq!((outcome.count, outcome.dropped), (0, 0));
}
