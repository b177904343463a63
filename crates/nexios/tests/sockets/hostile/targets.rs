//! What a request asks for, and which host: absolute targets, and those that are not valid.

use axum::Router;
use axum::http::{HeaderMap, Uri};
use nexios::{App, WebSocket};

use crate::site::Site;
use crate::wire::{Seen, Wire, upgrade};

/// Says what the handler sees of the request.
async fn sees(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let host = ws.header("host").unwrap_or_default();
    ws.send_text(format!("{host} {} {} {}", ws.url(), ws.path(), ws.query("x").unwrap_or_default())).await?;
    Ok(())
}

/// Sockets on `/` and `/ws`, and the rest answered with what it sees.
fn site() -> Site {
    let rest = Router::new().fallback(async |uri: Uri, headers: HeaderMap| {
        let host = headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        format!("{} {uri}", host.unwrap_or_default())
    });
    Site::start(App::new().ws("/", sees).ws("/ws", sees).fallback_service(rest))
}

const PLAIN: &str = "GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection, and one on which a request was answered already.
fn both(site: &Site) -> [Wire; 2] {
    let mut kept = site.dial();
    kept.say(PLAIN);
    assert_eq!(kept.answer().body, "localhost /plain");
    [site.dial(), kept]
}

#[test]
fn an_absolute_target_names_host_and_path_of_a_websocket() {
    let site = site();
    for (target, seen) in [
        ("http://h/ws", "h ws://h/ws /ws "),
        ("http://h:8000/ws?x=1", "h:8000 ws://h:8000/ws?x=1 /ws 1"),
        ("HTTP://h", "h ws://h/ / "),
        ("http://h?x=/ws", "h ws://h/?x=/ws / /ws"),
        ("ws://[::1]:80/ws", "[::1]:80 ws://[::1]:80/ws /ws "),
        ("/ws?x=http://h/", "localhost ws://localhost/ws?x=http://h/ /ws http://h/"),
    ] {
        for mut wire in both(&site) {
            wire.say(upgrade(target, ""));
            assert_eq!(wire.answer().status, 101, "{target}");
            assert_eq!(wire.next(), Seen::Text(seen.into()), "{target}");
        }
    }
    // The page's origin is compared with the same host.
    for (origin, status) in [("http://h", 101), ("http://localhost", 403)] {
        let mut wire = site.dial();
        wire.say(upgrade("http://h/ws", &format!("Origin: {origin}\r\n")));
        assert_eq!(wire.answer().status, status, "{origin}");
    }
}

#[test]
fn an_absolute_target_names_host_and_path_of_a_plain_request() {
    let site = site();
    for (method, target, seen) in [
        ("GET", "http://h/a?b", "h /a?b"),
        ("GET", "http://h:80/", "h:80 /"),
        ("POST", "https://h/a", "h /a"),
        ("GET", "/a?b=http://h/c", "localhost /a?b=http://h/c"),
        ("OPTIONS", "*", "localhost *"),
    ] {
        for mut wire in both(&site) {
            wire.say(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
            let answer = wire.answer();
            assert_eq!((answer.status, answer.body.as_str()), (200, seen), "{method} {target}");
        }
    }
    for (request, seen) in [
        ("GET http://h/a HTTP/1.0\r\n\r\n", "h /a"),
        ("GET http://h/a HTTP/1.0\r\nHost: b\r\n\r\n", "h /a"),
        ("GET http://h/a HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "h /a"),
    ] {
        let mut wire = site.dial();
        wire.say(request);
        let answer = String::from_utf8(wire.rest_bytes()).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with(&format!("\r\n\r\n{seen}")), "{answer}");
    }
    // A query is no path: these are plain requests for `/`, which speaks WebSocket, and not for `/ws`.
    for target in ["http://h?x=/plain", "http://h"] {
        for mut wire in both(&site) {
            wire.say(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert_eq!(wire.answer().body, format!("h {}", target.replace("http://h", "/")), "{target}");
        }
    }
}

#[test]
fn targets_that_are_not_valid_are_400() {
    let site = site();
    for target in [
        "ws",
        "ws/",
        "?x=/ws",
        "*",
        "*://a/ws",
        "://a/ws",
        "http:///ws",
        "http:/ws",
        "http://u:p@h/ws",
        "http://h:x/ws",
        "ftp://h/ws",
        "h:80",
        "localhost/ws",
        "http://a|b/ws",
        "\\ws",
    ] {
        let plain = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for request in [plain, upgrade(target, "")] {
            for mut wire in both(&site) {
                wire.say(&request);
                assert_eq!(wire.answer().status, 400, "{request}");
                assert_eq!(wire.next(), Seen::Fin, "nothing behind it is a request");
            }
        }
    }
    for request in ["CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "POST * HTTP/1.1\r\nHost: h\r\n\r\n"] {
        for mut wire in both(&site) {
            wire.say(request);
            assert_eq!(wire.answer().status, 400, "{request}");
        }
    }
    site.assert_others_served();
}

#[test]
fn hosts_that_are_not_valid_are_400() {
    let site = site();
    for host in [
        "a b", "a\tb", "a/b", "a?b", "a#b", "u@a", "a\\b", ":80", "a:b", "a:80:80", "a:99999", "[::1", "::1", "\u{fc}",
        "a%",
    ] {
        for target in ["/ws", "http://h/ws"] {
            let plain = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            for request in [plain, upgrade(target, "").replace("Host: localhost", &format!("Host: {host}"))] {
                for mut wire in both(&site) {
                    wire.say(&request);
                    assert_eq!(wire.answer().status, 400, "{request}");
                }
            }
        }
    }
    site.assert_others_served();
}
