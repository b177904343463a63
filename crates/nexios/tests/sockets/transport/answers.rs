//! The form of answers: their framing, version and body.

use nexios::{
    App, WebSocket,
    accept::{Accept, AcceptError, Refusal},
};

use crate::site::{Site, echo};
use crate::wire::{Seen, upgrade};

fn header_of(ws: &WebSocket, name: &str) -> String {
    ws.header(name).unwrap_or_default()
}

/// Refuses with the field and status that the request names.
async fn refuses(ws: WebSocket) -> nexios::Result {
    let (name, value) = (header_of(&ws, "x-name"), header_of(&ws, "x-value"));
    let refusal = Refusal::new(header_of(&ws, "x-status").parse()?, "four").header(name, value);
    let refused = ws.reject_with(refusal).await;
    if let Err(error) = refused {
        let kind = error.downcast_ref::<AcceptError>();
        assert!(matches!(kind, Some(AcceptError::OwnHeader { .. } | AcceptError::InvalidStatus(_))), "{error}");
        ws.reject_with(Refusal::new(500, error.to_string())).await?;
    }
    Ok(())
}

/// Accepts with the field that the request names.
async fn accepts(ws: WebSocket) -> nexios::Result {
    let accept = Accept::new().header(header_of(&ws, "x-name"), header_of(&ws, "x-value"));
    if let Err(error) = ws.accept_with(accept).await {
        ws.reject_with(Refusal::new(500, error.to_string())).await?;
    }
    Ok(())
}

fn site() -> Site {
    Site::start(App::new().ws("/refuses", refuses).ws("/accepts", accepts).ws("/", echo).health("/health"))
}

fn asking(path: &str, status: u16, name: &str, value: &str) -> String {
    upgrade(path, &format!("X-Status: {status}\r\nX-Name: {name}\r\nX-Value: {value}\r\n"))
}

#[test]
fn an_application_does_not_frame_the_answer() {
    let site = site();
    for (status, name, value, expected) in [
        (403, "Content-Length", "4", 403),
        (403, "Connection", "close", 403),
        (426, "Upgrade", "websocket", 426),
        (403, "Content-Length", "3", 500),
        (403, "Content-Length", "0", 500),
        (403, "Transfer-Encoding", "chunked", 500),
        (403, "Connection", "keep-alive", 500),
        (403, "Upgrade", "h2c", 500),
        (403, "sec-websocket-accept", "x", 500),
        (200, "X-Other", "1", 500),
        (101, "X-Other", "1", 500),
        (600, "X-Other", "1", 500),
    ] {
        let mut wire = site.dial();
        wire.say(asking("/refuses", status, name, value));
        let bytes = String::from_utf8(wire.rest_bytes()).unwrap();
        assert_eq!(bytes.split(' ').nth(1), Some(expected.to_string().as_str()), "{name}: {value}: {bytes}");
        let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
        for once in ["content-length:", "connection:"] {
            assert_eq!(head.to_ascii_lowercase().matches(once).count(), 1, "{name}: {value}: {bytes}");
        }
    }
    for (name, value) in
        [("Content-Length", "0"), ("Connection", "Upgrade"), ("upgrade", "websocket"), ("Sec-WebSocket-Protocol", "x")]
    {
        let mut wire = site.dial();
        wire.say(asking("/accepts", 0, name, value));
        let answer = wire.answer();
        assert_eq!(answer.status, 500, "{name}");
        assert!(answer.body.contains(&format!("{name}: {value}")), "{}", answer.body);
    }
}

#[test]
fn answers_that_have_no_body_have_none() {
    let site = site();
    let head = |request: String| request.replacen("GET", "HEAD", 1);
    let long = format!("HEAD / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000));
    for (request, status) in [
        (asking("/refuses", 304, "ETag", "\"1\""), 304),
        (head(upgrade("/", "")), 405),
        ("HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 200),
        ("HEAD /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 404),
        (head(upgrade("/nowhere", "")), 404),
        ("HEAD nowhere HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (long, 431),
    ] {
        for before in ["", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut wire = site.dial();
            wire.say(before);
            (0..before.len().min(1)).for_each(|_| assert_eq!(wire.answer().status, 200));
            wire.say(&request);
            let bytes = String::from_utf8_lossy(&wire.rest_bytes()).into_owned();
            assert!(bytes.starts_with(&format!("HTTP/1.1 {status} ")) && bytes.ends_with("\r\n\r\n"), "{bytes}");
        }
    }
}

#[test]
fn an_upgrade_of_http_1_0_that_nobody_takes_is_answered_as_such() {
    let site = site();
    let mut wire = site.dial();
    wire.say(upgrade("/nowhere", "").replace("HTTP/1.1", "HTTP/1.0"));
    let bytes = String::from_utf8(wire.rest_bytes()).unwrap();
    assert!(bytes.starts_with("HTTP/1.0 404 ") && !bytes.contains("chunked"), "{bytes}");
}

#[test]
fn a_head_that_is_too_large_is_431_wherever_it_comes_and_however_it_is_cut() {
    for limit in [1000, 8192, 20_000] {
        let app = App::new().ws("/", echo).health("/health").server(move |server| server.head_bytes_max = limit);
        let site = Site::start(app);
        let plain = |lines: &str| format!("GET /health HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        for (request, taken) in [(upgrade("/", "X: \r\n"), 101), (plain("X: \r\n"), 200)] {
            for (over, status) in [(0, taken), (1, 431), (300, 431)] {
                let request = request.replacen("X: ", &format!("X: {}", "x".repeat(limit + over - request.len())), 1);
                for cut in [request.len(), 1, limit - 10] {
                    let mut wire = site.dial();
                    wire.say(plain(""));
                    assert_eq!(wire.answer().status, 200);
                    let (first, second) = request.split_at(cut);
                    wire.say(first);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    // Who is refused may be cut before it has said everything.
                    let _ = std::io::Write::write_all(&mut wire.stream, second.as_bytes());
                    assert_eq!(wire.answer().status, status, "{limit} and {over}, cut at {cut}");
                    assert!(status != 431 || matches!(wire.next(), Seen::Fin | Seen::Reset));
                }
            }
        }
    }
}
