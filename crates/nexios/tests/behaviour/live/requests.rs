//! Requests and replies.

use std::sync::Arc;

use nexios::{App, CloseCode, Json, Message, RequestError, WebSocket, WebSocketException, WsRouter};

use super::{deaf, frame, framed, got, live, send_all};
use crate::bench::{Bench, Log};

fn request(id: u32, method: &str) -> String {
    format!(r#"{{"type":"request","id":{id},"method":"{method}"}}"#)
}

fn reply(id: u32, payload: &str) -> String {
    format!(r#"|{{"type":"reply","id":{id}}}|{payload}"#)
}

fn error(id: u32, code: &str, message: &str) -> String {
    format!(r#"|{{"type":"error","id":{id},"code":"{code}","message":"{message}"}}|"#)
}

#[test]
fn a_reply_is_what_the_function_makes_of_the_argument() {
    let app = App::new()
        .live(true)
        .ws("/", deaf)
        .on_request("echo", async |_: WebSocket, message: Message| message)
        .on_request("text", async |_: WebSocket, text: String| text + "!")
        .on_request("sum", async |_: WebSocket, Json(numbers): Json<Vec<i64>>| Json(numbers.iter().sum::<i64>()))
        .on_request("nothing", async |_: WebSocket, (): ()| {})
        .on_request("who", async |ws: WebSocket, (): ()| ws.route_path().to_owned());
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    for (method, argument, expected) in [
        ("echo", "a\nb", "a|b"),
        ("text", "hi", "hi!"),
        ("sum", "[1,2,3]", "6"),
        ("nothing", "x", ""),
        ("who", "", "/"),
    ] {
        frame(&client, &request(7, method), argument);
        assert_eq!(got(&client), [reply(7, expected)], "{method}");
    }
    client.send_binary(framed(&request(8, "echo"), "x").as_bytes());
    assert_eq!(got(&client), [format!("binary {}", reply(8, "x"))]);
    client.send_binary(framed(&request(9, "sum"), "[4,5]").as_bytes());
    assert_eq!(got(&client), [reply(9, "9")]);
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let app = App::new()
        .live(true)
        .ws("/", deaf)
        .on_request("sum", async |_: WebSocket, Json(numbers): Json<Vec<i64>>| Json(numbers.len()))
        .on_request("text", async |_: WebSocket, text: String| text)
        .on_request("own", async |_: WebSocket, (): ()| {
            nexios::Result::<()>::Err(RequestError::new("sold_out", "come back tomorrow").into())
        })
        .on_request("exception", async |_: WebSocket, (): ()| {
            nexios::Result::<()>::Err(WebSocketException::new(CloseCode::POLICY_VIOLATION, "not you").into())
        })
        .on_request("fault", async |_: WebSocket, (): ()| nexios::Result::<()>::Err(nexios::Error::msg("a secret")))
        .on_request("panic", async |ws: WebSocket, (): ()| {
            assert_eq!(ws.route_path(), "a secret");
        });
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    let errors = [
        ("none", error(1, "not_found", r#"there is no method \"none\""#)),
        ("own", error(1, "sold_out", "come back tomorrow")),
        ("exception", error(1, "forbidden", "not you")),
        ("fault", error(1, "failed", "the server failed")),
        ("panic", error(1, "failed", "the server failed")),
    ];
    for (method, expected) in errors {
        frame(&client, &request(1, method), "");
        assert_eq!(got(&client), [expected], "{method}");
    }
    frame(&client, &request(2, "sum"), "[1,");
    assert!(got(&client)[0].starts_with(r#"|{"type":"error","id":2,"code":"invalid","#));
    client.send_binary(framed(&request(3, "text"), "x").as_bytes());
    assert_eq!(got(&client), [error(3, "invalid", "the argument has to be text")]);
}

#[test]
fn a_text_of_the_application_that_is_too_long_for_a_header_is_cut() {
    let fail = async |_: WebSocket, text: String| {
        let code = if text.len() > 1 { text.repeat(50_000) } else { "own".to_owned() };
        nexios::Result::<()>::Err(RequestError::new(code, text.repeat(200_000)).into())
    };
    let bench = Bench::new(App::new().live(true).ws("/", deaf).on_request("fail", fail));
    let client = live(&bench, "/");
    for text in ["x", "\u{1}", "äö", "\"\""] {
        frame(&client, &request(1, "fail"), text);
        let answer = client.texts().concat();
        assert!(answer.len() <= 131_072 + 2, "{}", answer.len());
        let header: serde_json::Value = serde_json::from_str(answer.trim_start_matches('\u{1E}')).unwrap();
        let said = header["message"].as_str().unwrap();
        assert!(said.len() > 20_000 && text.repeat(200_000).starts_with(said), "{text:?}");
    }
    frame(&client, &request(2, "none"), "");
    assert!(got(&client)[0].contains(r#""code":"not_found""#));
}

#[test]
fn a_frame_that_is_not_valid_is_answered_and_the_connection_goes_on() {
    let app = App::new().live(true).ws("/", deaf).on_request("echo", async |_: WebSocket, message: Message| message);
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    let long = format!(r#"{{"type":"join","id":7,"room":"{}"}}"#, "x".repeat(5000));
    for header in [
        r#"{"type":"join","id":7}"#,
        r#"{"type":"join","id":7,"room":["x"]}"#,
        r#"{"type":"publish","id":7,"room":"x","key":1}"#,
        r#"{"type":"request","id":7}"#,
        r#"{"type":"presence","id":7,"room":null}"#,
        r#"{"type":"unheard_of","id":7}"#,
        r#"{"type":"ack","id":7}"#,
        r#"{"id":7}"#,
        &long,
    ] {
        frame(&client, header, "payload");
        let answers = got(&client);
        let expected = r#"|{"type":"error","id":7,"code":"invalid","message":"invalid frame: "#;
        assert!(answers.len() == 1 && answers[0].starts_with(expected), "{header}: {answers:?}");
    }
    frame(&client, &request(8, "echo"), "still here");
    assert_eq!(got(&client), [reply(8, "still here")]);
    for header in ["x", "[]", "{}", r#"{"type":"join","room":"x"}"#, r#"{"type":"join","id":-1,"room":"x"}"#] {
        let client = live(&bench, "/");
        frame(&client, header, "");
        assert_eq!(client.closed().0, 1002, "{header}");
    }
}

#[test]
fn the_nearest_routers_function_answers() {
    let near = WsRouter::with_prefix("/near").ws("/", deaf).on_request("who", async |_: WebSocket, (): ()| "near");
    let app = App::new().live(true).ws("/", deaf).mount(near);
    let app =
        app.on_request("who", async |_: WebSocket, (): ()| "far").on_request("all", async |_: WebSocket, (): ()| "all");
    let bench = Bench::new(app);
    for (path, who) in [("/near", "near"), ("/", "far")] {
        let client = live(&bench, path);
        send_all(&client, &[framed(&request(1, "who"), ""), framed(&request(2, "all"), "")]);
        assert_eq!(got(&client), [reply(1, who), reply(2, "all")], "{path}");
    }
}

/// A method that answers when it is let through.
fn gated(log: &Log) -> (App, Arc<tokio::sync::Semaphore>) {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (opened, log) = (gate.clone(), log.clone());
    let slow = move |_: WebSocket, (): ()| {
        struct Gone(Log);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.add("ended");
            }
        }
        let (opened, gone) = (opened.clone(), Gone(log.clone()));
        async move {
            let _gone = gone;
            opened.acquire().await.map(|permit| permit.forget()).map_err(nexios::Error::from)?;
            nexios::Result::Ok("slow")
        }
    };
    (
        App::new()
            .live(true)
            .ws("/", deaf)
            .on_request("slow", slow)
            .on_request("quick", async |_: WebSocket, (): ()| "quick"),
        gate,
    )
}

#[test]
fn answers_come_as_they_are_ready() {
    let (app, gate) = gated(&Log::default());
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    send_all(&client, &[framed(&request(1, "slow"), ""), framed(&request(2, "quick"), "")]);
    assert_eq!(got(&client), [reply(2, "quick")]);
    gate.add_permits(1);
    assert_eq!(got(&client), [reply(1, "slow")]);
}

#[test]
fn more_than_256_unanswered_are_busy() {
    let (app, gate) = gated(&Log::default());
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    (0..256).for_each(|id| frame(&client, &request(id, "slow"), ""));
    assert!(got(&client).is_empty());
    frame(&client, &request(256, "quick"), "");
    assert_eq!(got(&client), [error(256, "busy", "too much is unanswered")]);
    gate.add_permits(1);
    assert_eq!(got(&client).len(), 1);
    frame(&client, &request(257, "quick"), "");
    assert_eq!(got(&client), [reply(257, "quick")]);
}

#[test]
fn a_request_ends_with_its_connection() {
    let log = Log::default();
    let (app, _gate) = gated(&log);
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    frame(&client, &request(1, "slow"), "");
    assert!(log.take().is_empty());
    client.reset();
    assert_eq!(log.take(), ["ended"]);
}

#[test]
fn a_client_that_does_not_read_is_not_read_any_more() {
    let app = App::new().live(true).ws("/", deaf).on_request("big", async |_: WebSocket, (): ()| "x".repeat(200 << 10));
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    (0..600).for_each(|id| frame(&client, &request(id, "big"), ""));
    let mut answers = 0;
    while let some @ 1.. = got(&client).len() {
        answers += some;
    }
    assert_eq!(answers, 600, "none is lost, and none is busy");
}

#[test]
fn payloads_that_wait_for_answers_count_against_the_inbox_and_pause_reading() {
    let released = Arc::new(tokio::sync::Notify::new());
    let (log, held) = (Log::default(), released.clone());
    let noted = log.clone();
    let app = App::new().live(true).ws("/", deaf).on_request("hold", move |_: WebSocket, message: Message| {
        let (held, noted) = (held.clone(), noted.clone());
        async move {
            noted.add(message.len().to_string());
            held.notified().await;
        }
    });
    let bench = Bench::new(app);
    let client = live(&bench, "/");
    let payload = "x".repeat(100_000);
    for id in 0..20 {
        frame(&client, &request(id, "hold"), &payload);
    }
    // 256 KiB hold two of them; what came behind is in the inbox and on its way.
    assert_eq!(log.take(), ["100000", "100000"]);
    frame(&client, &request(20, "hold"), "");
    for _ in 0..30 {
        released.notify_waiters();
        bench.run();
    }
    assert_eq!(log.take().len(), 19);
    assert_eq!(got(&client).len(), 21);
}
