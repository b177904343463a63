//! Application's messages between a framed client and its handler.

use nexios::{App, Message, RateLimit, WebSocket, rate_limit::OnExcess};

use super::{deaf, echo, frame, framed, got, live};
use crate::bench::{Bench, Log};

#[test]
fn what_begins_with_the_mark_is_escaped_both_ways() {
    let bench = Bench::new(App::new().live(true).ws("/", echo));
    let client = live(&bench, "/");
    for (sent, back) in [
        ("hello", "hello"),
        ("", ""),
        ("\u{1E}\n", ""),
        ("\u{1E}\nplain", "plain"),
        ("\u{1E}\n\u{1E}{\"type\":\"x\"}\n", "\u{1E}\n\u{1E}{\"type\":\"x\"}\n"),
        ("a\u{1E}\n", "a\u{1E}\n"),
    ] {
        client.send(sent);
        assert_eq!(client.texts(), [back], "{sent:?}");
    }
    client.send_binary(&[0x1E, 0x0A, 0x1E, 0xFF]);
    assert_eq!(client.seen(), [crate::bench::Seen::Binary(vec![0x1E, 0x0A, 0x1E, 0xFF])]);
}

#[test]
fn the_handler_and_listeners_see_messages_without_escapes_and_no_frames() {
    let log = Log::default();
    let (heard, received) = (log.clone(), log.clone());
    let handler = move |ws: WebSocket| {
        let received = received.clone();
        async move {
            ws.accept().await?;
            while let Ok(text) = ws.receive_text().await {
                received.add(format!("received {text:?}"));
            }
            nexios::Result::Ok(())
        }
    };
    let listener = move |_: WebSocket, message: Message| heard.note(format!("heard {:?}", message.as_text().unwrap()));
    let bench = Bench::new(App::new().live(true).ws("/", handler).on_message(listener));
    let client = live(&bench, "/");
    let request = framed(r#"{"type":"request","id":1,"method":"none"}"#, "");
    super::send_all(&client, &["a".into(), request, "\u{1E}\n\u{1E}b".into()]);
    assert_eq!(log.take(), [r#"heard "a""#, r#"heard "\u{1e}b""#, r#"received "a""#, r#"received "\u{1e}b""#]);
}

#[test]
fn every_way_to_send_escapes_and_a_plain_client_gets_it_as_it_is() {
    let bench = Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text("\u{1E}text").await?;
        ws.send_bytes([0x1E]).await?;
        ws.handle().send_text("\u{1E}handle")?;
        ws.wait_closed().await;
        Ok(())
    }));
    let (framed, plain) = (live_ignoring(&bench), bench.connect("/"));
    assert_eq!(framed, ["|||text", "binary |||", "|||handle"]);
    assert_eq!(got(&plain), ["|text", "binary |", "|handle"]);
}

fn live_ignoring(bench: &std::rc::Rc<Bench>) -> Vec<String> {
    let client = super::offer(bench, "/");
    frame(&client, r#"{"type":"hello"}"#, "");
    got(&client).split_off(1)
}

#[test]
fn a_broadcast_that_begins_with_the_mark_keeps_its_place_for_both_kinds_of_clients() {
    let bench = Bench::new(App::new().live(true).ws("/", deaf));
    let (framed, plain, other) = (live(&bench, "/"), bench.connect("/"), live(&bench, "/"));
    for text in ["1", "\u{1E}2", "3"] {
        assert_eq!(bench.wait(bench.app.broadcast(text)), 3);
    }
    bench.wait(bench.app.broadcast(vec![0x1E, 0xFF]));
    assert_eq!(got(&plain), ["1", "|2", "3", "binary |\u{FFFD}"]);
    for client in [framed, other] {
        assert_eq!(got(&client), ["1", "|||2", "3", "binary |||\u{FFFD}"]);
    }
}

#[test]
fn malformed_frames_close_1002() {
    let bench = Bench::new(App::new().live(true).ws("/", deaf));
    for text in [
        "\u{1E}",
        "\u{1E}{\"type\":\"join\",\"id\":1,\"room\":\"x\"}",
        "\u{1E}[]\n",
        "\u{1E}{}\n",
        "\u{1E} \n",
        "\u{1E}{\"type\":\"request\",\"method\":\"x\"}\n",
        "\u{1E}{\"type\":\"hello\"}\n",
        &framed(&format!(r#"{{"type":"request","method":"{}"}}"#, "x".repeat(4096)), ""),
    ] {
        let client = live(&bench, "/");
        client.send(text);
        assert_eq!(client.closed().0, 1002, "{text:?}");
    }
    let client = live(&bench, "/");
    client.send_binary(b"\x1E{\"type\":\"request\",\"id\":1,\"method\":\"\xFF\"}\n");
    assert_eq!(client.closed().0, 1002);
}

#[test]
fn a_frame_over_a_limit_that_drops_is_told_to_be_busy() {
    let limit = RateLimit::messages(1).on_excess(OnExcess::Drop);
    let bench = Bench::new(App::new().live(true).middleware(limit).ws("/", echo));
    let client = live(&bench, "/");
    client.send("first");
    client.send("dropped");
    frame(&client, r#"{"type":"request","id":7,"method":"none"}"#, "");
    let busy = r#"|{"type":"error","id":7,"code":"busy","message":"too many messages"}|"#;
    assert_eq!(got(&client), ["first", busy]);
}
