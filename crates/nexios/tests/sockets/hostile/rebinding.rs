//! DNS rebinding: a page whose name leads to this server is of the same origin as itself.

use nexios::App;

use crate::site::{Site, echo};
use crate::wire::{Wire, upgrade};

fn app() -> App {
    App::new().ws("/", echo).health("/health")
}

/// What a page of this host gets: by WebSocket, by plain HTTP, and by WebSocket on a connection that was kept.
fn statuses(mut dial: impl FnMut() -> Wire, host: &str, lines: &str) -> [u16; 3] {
    let request = upgrade("/", &format!("Origin: http://{host}\r\n{lines}")).replace("localhost", host);
    let plain = |host: &str| format!("GET /health HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let mut status = |first: Option<String>, request: &str| {
        let mut wire = dial();
        if let Some(first) = first {
            wire.say(first);
            assert_eq!(wire.answer().status, 200);
        }
        wire.say(request);
        wire.answer().status
    };
    let kept = plain("localhost").replace(lines, "");
    [status(None, &request), status(None, &plain(host)), status(Some(kept), &request)]
}

#[test]
fn a_page_of_another_host_is_answered_where_hosts_are_not_listed_and_400_where_they_are() {
    let open = Site::start(app());
    assert_eq!(statuses(|| open.dial(), "evil.example", ""), [101, 200, 101]);
    let site = Site::start(app().allowed_hosts(["localhost", "*.example.org"]));
    for (host, expected) in [
        ("evil.example", [400; 3]),
        ("localhost.evil.example", [400; 3]),
        ("example.org", [400; 3]),
        ("a.example.org:8000", [101, 200, 101]),
        ("LOCALHOST", [101, 200, 101]),
    ] {
        assert_eq!(statuses(|| site.dial(), host, ""), expected, "{host}");
    }
    // The host of an absolute target is the one that counts.
    for (target, host, expected) in
        [("http://evil.example/", "localhost", 400), ("http://localhost/", "evil.example", 101)]
    {
        let mut wire = site.dial();
        wire.say(upgrade(target, "").replace("Host: localhost", &format!("Host: {host}")));
        assert_eq!(wire.answer().status, expected, "{target}");
    }
    for lines in ["Host: \r\n", ""] {
        let mut wire = site.dial();
        wire.say(format!("GET /health HTTP/1.0\r\n{lines}\r\n"));
        assert!(String::from_utf8(wire.rest_bytes()).unwrap().contains(" 400 "), "no host is none of those");
    }
    site.assert_others_served();
}

#[test]
fn the_host_that_a_trusted_proxy_was_asked_for_counts() {
    let app = app().allowed_hosts(["localhost", "shop.example"]).trusted_proxies(["127.0.0.1"]);
    let site = Site::start(app);
    for (forwarded, expected) in [
        ("X-Forwarded-Host: shop.example\r\n", 101),
        ("X-Forwarded-Host: evil.example\r\n", 400),
        ("X-Forwarded-Host: shop.example, evil.example\r\n", 400),
        ("Forwarded: host=shop.example\r\n", 101),
        ("Forwarded: host=evil.example\r\n", 400),
    ] {
        let [upgraded, plain, _] = statuses(|| site.dial(), "localhost", forwarded);
        assert_eq!((upgraded == 400, plain == 400), (expected == 400, expected == 400), "{forwarded}");
    }
}
