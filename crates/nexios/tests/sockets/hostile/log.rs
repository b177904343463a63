//! What of the texts of clients reaches the log, and in which form.

use std::fmt::Write;
use std::sync::Arc;

use nexios::{App, Error, Message, WebSocket};

use crate::logged::{line_with, listen};
use crate::site::{Site, echo};
use crate::wire::{close, upgrade};

const LIVE: &str = "Sec-WebSocket-Protocol: nexios.v1\r\n";
/// What a client would like to see in the log as a line of its own.
const FORGED: &str = "\r\n2026 INFO forged \x1b[31m\u{85}\u{2028}\u{202e}\u{7f}";

/// The line with this mark has the forged text, and nothing of it is raw.
fn assert_escaped(mark: &str) {
    let line = line_with(mark);
    assert!(line.contains(r"2026 INFO forged \x1b[31m"), "{mark}: {line:?}");
    let raw = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{202e}');
    assert!(!line.contains(raw), "{mark}: {line:?}");
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

#[test]
fn what_a_client_says_is_escaped_and_cut_in_the_log() {
    listen();
    let site = Site::start(App::new().ws("/", echo));
    // U+0085 is a line break to some, U+202E turns a line around; ESC and LF are no HTTP.
    let origin = format!("http://evil.example/\u{85}\u{202e}{}", "x".repeat(5000));
    let mut wire = site.dial();
    wire.say(upgrade("/", &format!("Origin: {origin}\r\n")));
    assert_eq!(wire.answer().status, 403);
    let line = line_with("evil.example");
    assert!(line.contains("allowed_origins"), "{line}");
    assert!(!line.contains(['\u{85}', '\u{202e}']), "{line}");
    assert!(!line.contains(&"x".repeat(257)), "{} bytes", line.len());
    site.assert_others_served();
}

/// Fails before it accepts, with what the client has said in a part of its request.
async fn refused(ws: WebSocket) -> nexios::Result {
    let part = ws.path_param::<String>("part")?;
    let text = match &*part {
        "query" => ws.query("text").unwrap_or_default(),
        "header" => ws.headers().get("x-text").unwrap_or_default().to_owned(),
        "subprotocol" => ws.headers().get("sec-websocket-protocol").unwrap_or_default().to_owned(),
        _ => part.to_string(),
    };
    Err(Error::msg(format!("mark-{} {text}", part.chars().take(9).collect::<String>())))
}

#[test]
fn no_part_of_a_request_writes_lines_of_its_own() {
    listen();
    let site = Site::start(App::new().ws("/{part}", refused));
    let encoded = percent_encoded(FORGED);
    for (path, lines, mark) in [
        (format!("/pathparam{encoded}"), String::new(), "mark-pathparam"),
        (format!("/query?text={encoded}"), String::new(), "mark-query"),
    ] {
        let mut wire = site.dial();
        wire.say(upgrade(&path, &lines));
        assert_eq!(wire.answer().status, 500, "{mark}");
        assert_escaped(mark);
    }
    // Bytes that HTTP lets through.
    let mut wire = site.dial();
    wire.say(upgrade("/header", "X-Text: \u{85}2026\u{2028}\u{202e}\r\n"));
    assert_eq!(wire.answer().status, 500);
    assert!(line_with("mark-header").contains(r"\u0085") || line_with("mark-header").contains(r"\x85"));
    assert!(!line_with("mark-header").contains(['\u{85}', '\u{2028}', '\u{202e}']));
    site.assert_others_served();
}

/// Fails in the way that the first word of a message asks for, with all of the message.
async fn failing(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let text = ws.receive_text().await?.to_string();
    match text.split(' ').next() {
        Some("mark-panic") => panic!("{text}"),
        Some("mark-source") => Err(Outer(Inner(text)).into()),
        _ => Err(Error::msg(text)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Inner(String);

#[test]
fn no_message_and_no_close_reason_writes_lines_of_its_own() {
    listen();
    let app = App::new().ws("/", failing).on_message(async |_: WebSocket, message: Message| match message {
        Message::Text(text) if text.starts_with("mark-listener") => Err(Error::msg(text.to_string())),
        _ => Ok(()),
    });
    let site = Site::start(app.on_disconnect(async |ws: WebSocket| match ws.close_reason() {
        Some(reason) if reason.starts_with("mark-reason") => Err(Error::msg(reason.to_string())),
        _ => Ok(()),
    }));
    for mark in ["mark-error", "mark-panic", "mark-source", "mark-listener"] {
        let mut wire = site.connect("/");
        wire.text(&format!("{mark} {FORGED}"));
        assert_escaped(mark);
    }
    let mut wire = site.connect("/");
    wire.say(close(1000, format!("mark-reason {FORGED}")));
    assert_escaped("mark-reason");
    site.assert_others_served();
}

#[test]
fn no_frame_of_nexios_v1_writes_lines_of_its_own() {
    listen();
    let app = App::new()
        .live(true)
        .ws("/", echo)
        .authorize_join(async |_: WebSocket, room: Arc<str>| Err::<bool, _>(Error::msg(format!("mark-join {room}"))))
        .on_request("fail", async |_: WebSocket, text: Message| {
            Err::<Message, _>(Error::msg(format!("mark-request {}", text.as_text().unwrap_or_default())))
        });
    let site = Site::start(app);
    let name = serde_json::to_string(FORGED).unwrap();
    for (frame, mark) in [
        (format!("{{\"type\":\"join\",\"room\":{name},\"id\":1}}\n"), "mark-join"),
        (format!("{{\"type\":\"request\",\"method\":\"fail\",\"id\":2}}\n{FORGED}"), "mark-request"),
        (format!("{{\"type\":{name}}}\n"), "this is not nexios.v1"),
    ] {
        let mut wire = site.dial().shake_hands_with("/", LIVE);
        wire.text("\u{1E}{\"type\":\"hello\"}\n");
        wire.text(&format!("\u{1E}{frame}"));
        match mark {
            // It names the kind of the mistake, not the text.
            "this is not nexios.v1" => assert!(!line_with(mark).contains(char::is_control)),
            mark => assert_escaped(mark),
        }
    }
    site.assert_others_served();
}
