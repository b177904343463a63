//! Sending and receiving: semantics, "Messages".

use std::sync::Arc;
use std::time::Duration;

use nexios::{App, Message, ReceiveError, WebSocket, WebSocketTypeError};
use nexios_protocol::OpCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::bench::{Bench, Log, Seen};

#[test]
fn all_kinds_are_sent() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text("text").await?;
        ws.send_bytes(b"bytes").await?;
        ws.send_json(&[1, 2]).await?;
        ws.send("value").await?;
        ws.send(vec![7]).await?;
        ws.send_ping(b"").await?;
        ws.send_pong(b"p").await?;
        assert!(ws.send_ping([0; 126]).await.is_err());
        ws.wait_closed().await;
        Ok(())
    });
    let seen = Bench::new(app).connect("/").seen();
    let text = |text: &str| Seen::Text(text.into());
    let expected = [
        text("text"),
        Seen::Binary(b"bytes".into()),
        text("[1,2]"),
        text("value"),
        Seen::Binary(vec![7]),
        Seen::Ping,
        Seen::Pong(b"p".into()),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_wrong_kind_closes_1003_unless_it_is_caught() {
    async fn strict(ws: WebSocket) -> nexios::Result {
        ws.accept().await?;
        ws.receive_text().await?;
        Ok(())
    }
    async fn lenient(ws: WebSocket) -> nexios::Result {
        ws.accept().await?;
        loop {
            match ws.receive_text().await {
                Err(ReceiveError::WrongType(WebSocketTypeError { message, .. })) => ws.send(message).await?,
                text => ws.send_text(text?).await?,
            }
        }
    }
    let bench = Bench::new(App::new().ws("/strict", strict).ws("/lenient", lenient));
    let strict = bench.connect("/strict");
    strict.send_binary(b"x");
    assert_eq!(strict.closed().0, 1003);
    let lenient = bench.connect("/lenient");
    lenient.send_binary(b"x");
    lenient.send("y");
    assert_eq!(lenient.seen(), [Seen::Binary(b"x".into()), Seen::Text("y".into())]);
}

#[test]
fn json_comes_in_both_kinds_and_malformed_json_closes_1007() {
    #[derive(Serialize, Deserialize)]
    struct Point {
        x: i32,
    }
    async fn step(ws: WebSocket) -> nexios::Result {
        ws.accept().await?;
        loop {
            let point: Point = ws.receive_json().await?;
            ws.send_json(&Point { x: point.x + 1 }).await?;
        }
    }
    let client = Bench::new(App::new().ws("/", step)).connect("/");
    client.send(r#"{"x":1}"#);
    client.send_binary(br#"{"x":2}"#);
    assert_eq!(client.texts(), [r#"{"x":2}"#, r#"{"x":3}"#]);
    client.send("{");
    assert_eq!(client.closed().0, 1007);
}

#[test]
fn iteration_ends_quietly() {
    let log = Log::default();
    let handler_log = log.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let log = handler_log.clone();
        async move {
            ws.accept().await?;
            let mut texts = ws.iter_text();
            while let Some(text) = texts.next().await {
                log.add(&*text?);
            }
            log.add("over");
            Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    client.send("a");
    client.send("b");
    client.close(1001, "");
    assert_eq!(log.take(), ["a", "b", "over"]);
}

#[test]
fn a_lent_message_is_not_copied_out() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let length = ws.receive_with(|message| message.as_bytes().len()).await?;
        ws.send_text(length.to_string()).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let client = Bench::new(app).connect("/");
    client.send("hello");
    assert_eq!(client.texts(), ["5"]);
}

#[test]
fn a_second_receive_at_the_same_time_is_an_error_and_one_given_up_loses_nothing() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let mut first = Box::pin(ws.receive_text());
        std::future::poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(ws.receive_text().await, Err(ReceiveError::Busy));
        drop(first);
        ws.send_text("ready").await?;
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let client = Bench::new(app).connect("/");
    client.send("kept");
    assert_eq!(client.texts(), ["ready", "kept"]);
}

#[test]
fn receiving_and_sending_before_accept_is_an_error() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        assert_eq!(ws.receive().await, Err(ReceiveError::NotAccepted));
        assert!(ws.send_text("x").await.is_err());
        ws.accept().await?;
        assert!(ws.accept().await.unwrap_err().is::<nexios::accept::AcceptError>());
        ws.wait_closed().await;
        Ok(())
    });
    assert!(Bench::new(app).connect("/").texts().is_empty());
}

#[test]
fn pings_are_answered_and_can_be_observed_while_data_stays_queued() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let ping = ws.receive_ping().await?;
        let text = ws.receive_text().await?;
        ws.send_text(format!("{} {text}", String::from_utf8_lossy(&ping))).await?;
        let time = ws.ping().await?;
        assert!(time < Duration::from_secs(1));
        ws.send_text("pong").await?;
        ws.wait_closed().await;
        Ok(())
    });
    let client = Bench::new(app).connect("/");
    client.send("data");
    client.ping(b"p");
    assert_eq!(client.seen(), [Seen::Pong(b"p".into()), Seen::Text("data".replace("data", "p data")), Seen::Ping]);
    assert_eq!(client.texts(), ["pong"]);
}

#[test]
fn a_send_waits_above_the_mark_and_all_arrives() {
    let log = Log::default();
    let handler_log = log.clone();
    let app = App::new().settings(|settings| settings.outbox_mark_bytes = 1000).ws("/", move |ws: WebSocket| {
        let log = handler_log.clone();
        async move {
            ws.accept().await?;
            ws.receive().await?;
            // More than the memory connection and the outbox hold together.
            for n in 0..30 {
                ws.send_bytes(vec![n; 100_000]).await?;
                log.add(n.to_string());
            }
            Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    client.send("go");
    let sent = log.take().len();
    assert!((5..20).contains(&sent), "{sent} of 30 were sent to a client that does not read");
    let mut arrived = 0;
    while arrived < 30 {
        let seen = client.seen();
        assert!(!seen.is_empty());
        arrived += seen.iter().filter(|seen| matches!(seen, Seen::Binary(bytes) if bytes.len() == 100_000)).count();
    }
}

#[test]
fn a_fragmented_message_is_one() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let message = ws.receive().await?;
        assert_eq!(message, Message::from("hello"));
        ws.send(message).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let client = Bench::new(app).connect("/");
    client.write(|protocol, out| protocol.send_fragment(out, OpCode::Text, false, b"he"));
    client.write(|protocol, out| protocol.send_fragment(out, OpCode::Continuation, true, b"llo"));
    assert_eq!(client.texts(), ["hello"]);
}

#[test]
fn compression_takes_effect_only_when_it_is_asked_for_and_offered() {
    use nexios_protocol::DeflateConfig;
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let on = ws.enable_compression();
        ws.send_text(format!("{on}")).await?;
        ws.send_text("x".repeat(5000)).await?;
        ws.send_text("x".repeat(5000)).compress(false).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let bench = Bench::new(app);
    assert_eq!(bench.connect("/").texts()[0], "false");
    let offer = crate::bench::handshake("/").deflate(DeflateConfig::default());
    let client = bench.try_connect(offer).unwrap();
    assert_eq!(client.texts(), ["true".into(), "x".repeat(5000), "x".repeat(5000)]);
}

#[test]
fn a_handle_sends_and_closes_from_another_thread() {
    let handles = std::sync::Arc::new(std::sync::Mutex::new(None));
    let slot = handles.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let slot = slot.clone();
        async move {
            ws.accept().await?;
            ws.set_client_id("ann");
            *slot.lock().unwrap() = Some(ws.handle());
            ws.wait_closed().await;
            Ok(())
        }
    });
    let bench = Bench::new(app);
    let client = bench.connect("/");
    let handle = handles.lock().unwrap().take().unwrap();
    assert_eq!(handle.client_id(), Some("ann"));
    let handle = std::thread::spawn(move || {
        assert!(handle.is_connected());
        handle.send_text("from afar").unwrap();
        handle.close(4000, "done").unwrap();
        assert!(handle.close(1005, "").is_err());
        handle
    })
    .join()
    .unwrap();
    let seen = client.seen();
    assert_eq!(seen[..2], [Seen::Text("from afar".into()), Seen::Close(4000, "done".into())]);
    bench.run();
    assert!(!handle.is_connected());
    assert!(handle.send_text("too late").is_err());
}

#[test]
fn a_spawned_task_runs_beside_the_handler() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let same = ws.clone();
        ws.spawn(async move {
            let _ = same.send_text("beside").await;
        });
        ws.wait_closed().await;
        Ok(())
    });
    assert_eq!(Bench::new(app).connect("/").texts(), ["beside"]);
}

/// Receives to the end; after each message it is busy until there is a permit to go on.
async fn read_slowly(ws: WebSocket, log: Log, permits: Arc<Semaphore>) {
    while let Ok(text) = ws.receive_text().await {
        log.add(text.to_string());
        permits.acquire().await.unwrap().forget();
    }
}

#[test]
fn a_task_that_receives_beside_wait_closed_gets_every_message() {
    let (log, permits) = (Log::default(), Arc::new(Semaphore::new(0)));
    let given = (log.clone(), permits.clone());
    let app = App::new().ws("/", move |ws: WebSocket| {
        let (log, permits) = given.clone();
        async move {
            ws.accept().await?;
            ws.spawn(read_slowly(ws.clone(), log, permits));
            ws.wait_closed().await;
            Ok(())
        }
    });
    let bench = Bench::new(app);
    let client = bench.connect("/");
    for n in 0..100 {
        client.send(&n.to_string());
    }
    // It is busy with the first, and the others are more than the inbox holds.
    assert_eq!(log.take(), ["0"]);
    permits.add_permits(100);
    bench.run();
    let rest: Vec<String> = (1..100).map(|n| n.to_string()).collect();
    assert_eq!(log.take(), rest);
}

#[test]
fn a_task_that_is_busy_when_wait_closed_begins_loses_nothing() {
    let (log, permits) = (Log::default(), Arc::new(Semaphore::new(0)));
    let given = (log.clone(), permits.clone());
    let app = App::new().ws("/", move |ws: WebSocket| {
        let (log, permits) = given.clone();
        async move {
            ws.accept().await?;
            ws.spawn(read_slowly(ws.clone(), log, permits));
            ws.receive_ping().await?;
            ws.wait_closed().await;
            Ok(())
        }
    });
    let bench = Bench::new(app);
    let client = bench.connect("/");
    client.send("a");
    client.ping(b"");
    client.send("b");
    client.send("c");
    permits.add_permits(2);
    bench.run();
    assert_eq!(log.take(), ["a", "b", "c"]);
}

#[test]
fn a_handler_that_has_received_and_then_waits_still_sees_the_end_behind_many_messages() {
    let log = Log::default();
    let (handler_log, listener_log) = (log.clone(), log.clone());
    let app = App::new().on_message(move |_: WebSocket, message: Message| {
        listener_log.note(String::from_utf8_lossy(message.as_bytes()))
    });
    let app = app.ws("/", move |ws: WebSocket| {
        let log = handler_log.clone();
        async move {
            ws.accept().await?;
            ws.receive_text().await?;
            ws.wait_closed().await;
            log.add(format!("{:?}", ws.close_code()));
            Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    for n in 0..200 {
        client.send(&n.to_string());
    }
    client.close(4001, "");
    let seen = log.take();
    assert_eq!(seen.len(), 201);
    assert_eq!(seen[200], "Some(4001)");
}

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        ws.send(ws.receive().await?).await?;
    }
}

/// Messages that come in one read, with what may stand between them.
fn write_all(client: &crate::bench::Client) {
    client.write(|connection, out| {
        for text in ["1", "2"] {
            connection.send_message(out, OpCode::Text, text.as_bytes());
        }
        connection.send_ping(out, b"between").unwrap();
        connection.send_fragment(out, OpCode::Text, false, b"3 in ");
        connection.send_fragment(out, OpCode::Continuation, true, b"pieces");
        for text in ["4", "5"] {
            connection.send_message(out, OpCode::Text, text.as_bytes());
        }
    });
}

#[test]
fn a_handler_gets_all_of_one_read_in_order_whatever_stands_between() {
    let client = Bench::new(App::new().ws("/", echo)).connect("/");
    write_all(&client);
    let text = |text: &str| Seen::Text(text.into());
    let seen = client.seen();
    assert!(seen.contains(&Seen::Pong(b"between".into())));
    let texts: Vec<Seen> = seen.into_iter().filter(|seen| !matches!(seen, Seen::Pong(_))).collect();
    assert_eq!(texts, ["1", "2", "3 in pieces", "4", "5"].map(text));
}

#[test]
fn a_handler_that_does_something_else_between_two_messages_loses_none() {
    let gate = Arc::new(Semaphore::new(0));
    let waits = gate.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let gate = waits.clone();
        async move {
            ws.accept().await?;
            let first = ws.receive_text().await?;
            ws.send_text(&*first).await?;
            gate.acquire().await.unwrap().forget();
            for _ in 0..4 {
                ws.send_text(ws.receive_text().await?).await?;
            }
            ws.wait_closed().await;
            nexios::Result::Ok(())
        }
    });
    let bench = Bench::new(app);
    let client = bench.connect("/");
    write_all(&client);
    let text = |text: &str| Seen::Text(text.into());
    assert_eq!(client.seen(), [text("1"), Seen::Pong(b"between".into())]);
    gate.add_permits(1);
    bench.run();
    assert_eq!(client.seen(), ["2", "3 in pieces", "4", "5"].map(text));
}

#[test]
fn a_handler_that_closes_between_two_messages_gets_no_more() {
    let log = Log::default();
    let noted = log.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let log = noted.clone();
        async move {
            ws.accept().await?;
            log.add(&*ws.receive_text().await?);
            ws.close(4000, "enough").await?;
            log.add(ws.receive_text().await.unwrap_err().to_string());
            nexios::Result::Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    write_all(&client);
    assert_eq!(client.closed(), (4000, "enough".into()));
    assert_eq!(log.take()[0], "1");
}

#[test]
fn a_text_that_is_no_utf8_behind_good_ones_is_1007_and_the_good_ones_are_answered() {
    let client = Bench::new(App::new().ws("/", echo)).connect("/");
    client.write(|connection, out| {
        connection.send_message(out, OpCode::Text, b"good");
        connection.send_message(out, OpCode::Text, b"\xff\xfe");
        connection.send_message(out, OpCode::Text, b"too late");
    });
    let seen = client.seen();
    assert_eq!(seen[..2], [Seen::Text("good".into()), Seen::Close(1007, String::new())]);
}
