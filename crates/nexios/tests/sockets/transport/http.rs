//! Plain HTTP on the port of the WebSockets.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use nexios::App;

use super::Directory;
use crate::answer::Answer;
use crate::site::{Site, echo};
use crate::wire::{Seen, Wire, upgrade};

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn ask(wire: &mut Wire, request: impl AsRef<[u8]>) -> Answer {
    wire.say(request);
    wire.answer()
}

#[test]
fn what_is_no_websocket_is_answered_by_status() {
    let site = Site::start(App::new().ws("/chat", echo).health("/health"));
    let mut wire = site.dial();
    let health = ask(&mut wire, get_request("/health"));
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!(ask(&mut wire, get_request("/nowhere")).status, 404);
    let upgrade_required = ask(&mut wire, get_request("/chat"));
    assert_eq!((upgrade_required.status, upgrade_required.header("upgrade")), (426, Some("websocket")));
    // All of it on one connection, which a WebSocket may end up on.
    wire.shake_hands("/chat").assert_echo("upgraded at last");
}

#[test]
fn an_upgrade_to_nowhere_is_404_and_an_old_version_426() {
    let site = Site::start(App::new().ws("/chat", echo));
    assert_eq!(ask(&mut site.dial(), upgrade("/nowhere", "")).status, 404);
    let mut wire = site.dial();
    let answer = ask(&mut wire, upgrade("/chat", "").replace("Version: 13", "Version: 8"));
    assert_eq!((answer.status, answer.header("sec-websocket-version")), (426, Some("13")));
    assert_eq!((answer.header("upgrade"), answer.header("connection")), (Some("websocket"), Some("close")));
    assert_eq!(wire.next(), Seen::Fin);
}

#[test]
fn every_rule_of_the_handshake_has_its_status() {
    let site = Site::start(App::new().ws("/chat", echo));
    let table = [
        ("GET /", "POST /", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("Host: localhost\r\n", "", 400),
        ("Host: localhost\r\n", "Host: a\r\nHost: b\r\n", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dG9vIHNob3J0", 400),
    ];
    for (from, to, status) in table {
        let request = upgrade("/chat", "").replace(from, to);
        for plain_requests_before in 0..2 {
            let mut wire = site.dial();
            (0..plain_requests_before).for_each(|_| assert_eq!(ask(&mut wire, get_request("/")).status, 404));
            assert_eq!(ask(&mut wire, &request).status, status, "{to:?} behind {plain_requests_before}");
        }
    }
}

#[test]
fn an_upgrade_may_come_in_the_packet_of_a_plain_request_with_its_first_frame() {
    let site = Site::start(App::new().ws("/chat", echo).health("/health"));
    let mut wire = site.dial();
    let frame = crate::wire::frame(crate::wire::FIN | crate::wire::TEXT, "all at once");
    wire.say([get_request("/health").as_bytes(), upgrade("/chat", "").as_bytes(), &frame].concat());
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.answer().status, 101);
    assert_eq!(wire.next(), Seen::Text("all at once".into()));
    site.assert_others_served();
}

#[test]
fn static_files_are_served_and_nothing_above_them() {
    let directory = Directory::new("files");
    directory.file("secret.txt", "the secret");
    directory.file("page/index.html", "<h1>Chat</h1>");
    directory.file("page/chat.js", "connect()");
    let app = App::new().ws("/page/live", echo).static_files("/page", directory.0.join("page"));
    let site = Site::start(app);
    for (path, body) in [("/page/", "<h1>Chat</h1>"), ("/page/chat.js", "connect()")] {
        let answer = ask(&mut site.dial(), get_request(path));
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
    let secret = directory.0.join("secret.txt");
    let absolute = format!("/page/{}", secret.display());
    let doubled = format!("/page//{}", secret.display());
    for path in [
        "/page/../secret.txt",
        "/page/%2e%2e/secret.txt",
        "/page/..%2fsecret.txt",
        "/page/%2e%2e%2fsecret.txt",
        "/page/./../secret.txt",
        "/page/..\\secret.txt",
        "/page/x/../../secret.txt",
        "/page/%252e%252e/secret.txt",
        "/page/%00/../secret.txt",
        "/page../secret.txt",
        "/page/missing",
        &absolute,
        &doubled,
    ] {
        let answer = ask(&mut site.dial(), get_request(path));
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.contains("the secret"), "{path}");
    }
    site.connect("/page/live").assert_echo("a socket between the files");
}

#[test]
fn an_axum_router_answers_the_rest_with_streams_both_ways() {
    let stream = || {
        let pieces =
            (0..5).map(|n| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(format!("piece {n}\n")))));
        axum::body::Body::new(StreamBody::new(Slowly(pieces.collect::<Vec<_>>().into_iter(), None)))
    };
    let echo_body = async |request: axum::extract::Request| {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        format!("{} bytes", bytes.len())
    };
    let router = Router::new()
        .route("/about", get(async || "A chat."))
        .route("/stream", get(async move || stream()))
        .route("/count", post(echo_body))
        .route("/panic", get(async || -> &'static str { panic!("in axum") }));
    let site = Site::start(App::new().ws("/chat", echo).fallback_service(router));
    let mut wire = site.dial();
    assert_eq!(ask(&mut wire, get_request("/about")).body, "A chat.");
    let streamed = ask(&mut wire, get_request("/stream"));
    assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
    assert_eq!(streamed.body, "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n");
    let chunked = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    wire.say(format!("{chunked}5\r\nhello\r\n"));
    site.assert_others_served();
    assert_eq!(ask(&mut wire, "6\r\n world\r\n0\r\n\r\n").body, "11 bytes");
    assert_eq!(ask(&mut wire, get_request("/panic")).status, 500);
    assert_eq!(ask(&mut site.dial(), get_request("/nowhere")).status, 404);
    site.assert_others_served();
    wire.shake_hands("/chat").assert_echo("and then a WebSocket");
}

/// A stream that waits on tokio's clock between its pieces.
struct Slowly<I: Iterator>(I, Option<std::pin::Pin<Box<tokio::time::Sleep>>>);

impl<I: Iterator + Unpin> futures_core::Stream for Slowly<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        let pause = || Box::pin(tokio::time::sleep(Duration::from_millis(10)));
        std::task::ready!(self.1.get_or_insert_with(pause).as_mut().poll(cx));
        self.1 = None;
        std::task::Poll::Ready(self.0.next())
    }
}
