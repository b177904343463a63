//! The access log: a line for each answer, each handshake and each end, with what is asked for in fields.

use nexios::{App, WebSocket};

use crate::logged::{count_of, line_with, listen};
use crate::site::{Site, echo};
use crate::wire::{Seen, close, upgrade};

/// The value of a field; lines are `name=value` one after another.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}="))?;
    rest.split(' ').next()
}

fn app() -> App {
    App::new()
        .access_log(true)
        .health("/access-health")
        .ws("/access-echo/{name}", echo)
        .ws("/access-closed", async |ws: WebSocket| ws.close(4003, "go away").await.map_err(Into::into))
        .ws("/access-refused", async |ws: WebSocket| ws.reject(401).await)
        .ws("/access-silent", async |_: WebSocket| nexios::Result::Ok(()))
}

#[test]
fn a_handshake_and_the_end_of_its_connection_have_a_line_each() {
    listen();
    let site = Site::start(app());
    let mut wire = site.connect("/access-echo/one?token=secret");
    let accepted = line_with("path=/access-echo/one route=/access-echo/{name} status=101");
    assert!(accepted.starts_with("message=accepted connection="), "{accepted}");
    let client = wire.local_address().to_string();
    let has = |line: &str, name: &str, value: &str| assert_eq!(field(line, name), Some(value), "{line}");
    has(&accepted, "client", &client);
    has(&accepted, "method", "GET");
    has(&accepted, "pid", &std::process::id().to_string());
    assert_eq!(field(&accepted, "code"), None);
    wire.say(close(4001, "bye\r\n"));
    assert!(matches!(wire.next(), Seen::Close(4001, _)));
    let closed = line_with("path=/access-echo/one route=/access-echo/{name} code=4001");
    has(&closed, "reason", r"bye\r\n");
    has(&closed, "connection", field(&accepted, "connection").unwrap());
    assert!(field(&closed, "duration").unwrap().parse::<f64>().unwrap() >= 0.0);
    assert_eq!(count_of("secret"), 0);
    site.assert_others_served();
}

#[test]
fn what_is_not_accepted_has_one_line_with_its_status() {
    listen();
    let site = Site::start(app());
    for (request, status, has) in [
        (upgrade("/access-refused", ""), 401, "path=/access-refused route=/access-refused status=401"),
        (upgrade("/access-silent", ""), 500, "path=/access-silent route=/access-silent status=500"),
        (
            upgrade("/access-closed", "Origin: http://evil.example\r\n"),
            403,
            "path=/access-closed route=/access-closed status=403",
        ),
        (upgrade("/access-none", ""), 404, "message=answered"),
        (
            upgrade("/access-refused?x", "").replace("Version: 13", "Version: 12"),
            426,
            "path=/access-refused status=426",
        ),
        ("GET /access-nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404, "path=/access-nothing status=404"),
        ("GET /access-echo/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426, "method=GET path=/access-echo/x status=426"),
        ("GET /access-health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200, "path=/access-health status=200"),
        ("nonsense\r\n\r\n".to_owned(), 400, "method=- path=- status=400"),
    ] {
        let mut wire = site.dial();
        wire.say(request);
        assert_eq!(wire.answer().status, status, "{has}");
        line_with(has);
    }
    assert_eq!(count_of("path=/access-refused route=/access-refused"), 1);
    assert_eq!(count_of("path=/access-none status=404"), 1);
    // A Close frame as the first frame: it never was connected.
    let mut wire = site.connect("/access-closed");
    assert!(matches!(wire.next(), Seen::Close(4003, _)));
    wire.say(close(4003, ""));
    line_with("path=/access-closed route=/access-closed code=4003 reason=go away");
    site.assert_others_served();
}

#[test]
fn a_client_that_leaves_is_closed_with_1006() {
    listen();
    let site = Site::start(app());
    site.connect("/access-echo/gone").hang_up();
    line_with("path=/access-echo/gone route=/access-echo/{name} code=1006");
    site.assert_others_served();
}

#[test]
fn requests_of_one_connection_have_a_line_each() {
    listen();
    let site = Site::start(app());
    let mut wire = site.dial();
    for path in ["/access-first", "/access-second"] {
        wire.say(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(wire.answer().status, 404);
        line_with(&format!("path={path} status=404"));
    }
    let mut other = site.dial();
    other.say("GET /access-readable HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.answer().status, 404);
    other.say("nonsense\r\n\r\n");
    assert_eq!(other.answer().status, 400);
    line_with(&format!("client={} method=- path=- status=400", other.local_address()));
    wire.say(upgrade("/access-echo/third", ""));
    assert_eq!(wire.answer().status, 101);
    line_with("path=/access-echo/third route=/access-echo/{name} status=101");
}

#[test]
fn a_client_behind_a_trusted_proxy_is_the_one_that_the_proxy_names() {
    listen();
    let site = Site::start(app().trusted_proxies(["127.0.0.1"]));
    site.dial().shake_hands_with("/access-echo/proxied", "X-Forwarded-For: 192.0.2.7\r\n");
    assert!(field(&line_with("path=/access-echo/proxied"), "client").unwrap().starts_with("192.0.2.7:"));
}

#[test]
fn without_being_turned_on_there_are_no_lines() {
    listen();
    let site = Site::start(App::new().ws("/access-off", echo));
    let mut wire = site.connect("/access-off");
    wire.say(close(1000, ""));
    assert!(matches!(wire.next(), Seen::Close(1000, _)));
    site.assert_others_served();
    assert_eq!(count_of("/access-off"), 0);
}
