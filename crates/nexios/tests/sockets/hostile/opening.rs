//! Before the handshake is answered: origins, slow and large heads, smuggled requests.

use std::time::{Duration, Instant};

use nexios::{
    App, Error, Serve, Tls, WebSocket,
    accept::{Accept, AcceptError, Refusal, SubprotocolNotOffered},
    serve::Cause,
};

use crate::site::{Site, echo};
use crate::wire::{Seen, Wire, upgrade};

fn site() -> Site {
    Site::start(App::new().ws("/", echo).health("/health"))
}

/// The status of a handshake; after a refusal the connection closes.
fn status(site: &Site, request: impl AsRef<[u8]>) -> u16 {
    let mut wire = site.dial();
    wire.say(request);
    let answer = wire.answer();
    if answer.status != 101 {
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(wire.next(), Seen::Fin);
    }
    answer.status
}

fn with_host(host: &str, lines: &str) -> String {
    upgrade("/", lines).replace("Host: localhost", &format!("Host: {host}"))
}

#[test]
fn pages_of_another_origin_are_403() {
    let site = site();
    let table = [
        ("shop.example", "", 101),
        ("shop.example", "Origin: http://shop.example\r\n", 101),
        ("shop.example", "Origin: https://shop.example\r\n", 101),
        ("shop.example:8000", "Origin: http://shop.example:8000\r\n", 101),
        ("shop.example", "Origin: http://evil.example\r\n", 403),
        ("shop.example", "Origin: http://shop.example.evil.example\r\n", 403),
        ("shop.example", "Origin: http://shop.example:8000\r\n", 403),
        ("shop.example", "Origin: null\r\n", 403),
        ("null", "Origin: null\r\n", 403),
        ("shop.example", "Origin: \r\n", 403),
        ("shop.example", "Origin: http://shop.example\r\nOrigin: http://evil.example\r\n", 403),
        ("shop.example", "Origin: http://evil.example\r\nX-Forwarded-Host: evil.example\r\n", 403),
    ];
    for (host, lines, expected) in table {
        assert_eq!(status(&site, with_host(host, lines)), expected, "{host} {lines}");
        site.assert_others_served();
    }
    let refused = table.iter().filter(|(_, _, status)| *status == 403).count();
    site.assert_causes(&[(Cause::Handler, refused as u64)]);
}

#[test]
fn a_forwarded_host_counts_from_a_trusted_proxy_only() {
    let lines = "Origin: https://shop.example\r\nX-Forwarded-Host: shop.example\r\n";
    for (proxies, expected) in [(vec!["127.0.0.0/8"], 101), (vec!["10.0.0.0/8", "unix"], 403), (vec![], 403)] {
        let site = Site::start(App::new().trusted_proxies(proxies.clone()).ws("/", echo));
        assert_eq!(status(&site, with_host("10.1.2.3", lines)), expected, "{proxies:?}");
    }
}

#[test]
fn listed_origins_pass_beside_the_same() {
    let site = Site::start(App::new().allowed_origins(["https://app.example"]).ws("/", echo));
    for (origin, expected) in
        [("https://app.example", 101), ("http://localhost", 101), ("http://app.example", 403), ("null", 403)]
    {
        assert_eq!(status(&site, upgrade("/", &format!("Origin: {origin}\r\n"))), expected, "{origin}");
    }
}

#[test]
fn pages_of_all_hosts_below_a_listed_one_pass() {
    let site = Site::start(App::new().allowed_origins(["https://*.x.org"]).ws("/", echo));
    for (origin, expected) in [
        ("https://a.x.org", 101),
        ("https://a.b.x.org", 101),
        ("https://x.org", 403),
        ("http://a.x.org", 403),
        ("https://evilx.org", 403),
        ("https://x.org.evil.example", 403),
    ] {
        assert_eq!(status(&site, upgrade("/", &format!("Origin: {origin}\r\n"))), expected, "{origin}");
    }
}

#[test]
fn origins_that_no_page_has_are_errors_when_the_app_is_built() {
    for origin in ["x.org", "*.x.org", "https://x.org/path", "wss://x.org", "https://*"] {
        let of_app = App::new().allowed_origins([origin]);
        let of_router = App::new().mount(nexios::WsRouter::new().allowed_origins([origin]));
        let of_route = App::new().route(nexios::Route::new("/", echo).allowed_origins([origin]));
        for app in [of_app, of_router, of_route] {
            let error = app.build().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(&format!("invalid origin {origin:?}: must ")), "{error}");
        }
    }
}

#[test]
fn a_slow_head_is_408_however_it_dribbles() {
    let app = App::new().server(|server| server.head_timeout = Duration::from_millis(200)).ws("/", echo);
    let site = Site::start(app);
    let (mut silent, mut dribbling) = (site.dial(), site.dial());
    let begun = Instant::now();
    for byte in upgrade("/", "").bytes().take(10) {
        dribbling.say([byte]);
        site.assert_others_served();
        std::thread::sleep(Duration::from_millis(10));
    }
    for wire in [&mut dribbling, &mut silent] {
        let answer = wire.answer();
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
        assert_eq!(wire.next(), Seen::Fin);
    }
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(200) && taken < Duration::from_secs(2), "{taken:?}");
    site.assert_causes(&[(Cause::SlowHead, 2)]);
    site.assert_others_served();
}

#[test]
fn a_slow_tls_handshake_ends_at_the_same_deadline() {
    let app = App::new().server(|server| server.head_timeout = Duration::from_millis(150)).ws("/", echo);
    let certificate = crate::transport::certificate();
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = open.local_addr().unwrap();
    let tls = Tls::config(certificate.server_config());
    let running = app.start(Serve::socket(open).tls(tls)).unwrap();
    let mut wire = Wire::dial(address);
    wire.say([0x16, 3, 1]);
    let begun = Instant::now();
    wire.rest_bytes();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(running.metrics().causes.contains(&(Cause::SlowHead, 1)));
}

#[test]
fn a_slow_head_behind_a_plain_request_ends_too() {
    let app = App::new().server(|server| server.head_timeout = Duration::from_millis(150)).ws("/", echo);
    let site = Site::start(app.health("/health"));
    let mut wire = site.dial();
    wire.say("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
    wire.say("GET / HTTP/1.1\r\nHo");
    let begun = Instant::now();
    wire.rest_bytes();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    site.assert_others_served();
}

#[test]
fn a_flood_of_headers_is_431() {
    let site = site();
    let fields: String = (0..65).map(|n| format!("X-{n}: 1\r\n")).collect();
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(9000));
    let empty_lines = "\r\n".repeat(5000);
    for (index, request) in [upgrade("/", &fields), endless, empty_lines].into_iter().enumerate() {
        assert_eq!(status(&site, &request), 431, "{:?}", &request[..40]);
        site.assert_others_served();
        site.assert_causes(&[(Cause::Handshake, index as u64 + 1)]);
    }
}

#[test]
fn what_is_no_http_is_400() {
    let site = site();
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        assert_eq!(status(&site, garbage), 400, "{garbage:?}");
        site.assert_others_served();
    }
    site.assert_causes(&[(Cause::Handshake, 4)]);
}

/// What makes an upgrade request ambiguous to somebody on its way.
const SMUGGLING: [&[u8]; 9] = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\nContent-Length: 5\r\n",
    b"Content-Length: 0, 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: \xa05\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunked\xff\r\n",
    b"Content-Length : 5\r\n",
];

fn smuggler(lines: &[u8]) -> Vec<u8> {
    let whole = upgrade("/", "");
    let head = whole.strip_suffix("\r\n").unwrap();
    [head.as_bytes(), lines, b"\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

#[test]
fn an_upgrade_with_a_body_is_400_and_nothing_behind_it_is_a_request() {
    let site = site();
    for (index, lines) in SMUGGLING.into_iter().enumerate() {
        // `status` sees to it that the answer is the only one.
        assert_eq!(status(&site, smuggler(lines)), 400, "{:?}", String::from_utf8_lossy(lines));
        site.assert_others_served();
        site.assert_causes(&[(Cause::Handshake, index as u64 + 1)]);
    }
    assert_eq!(status(&site, upgrade("/", "Content-Length: 0\r\n")), 101);
}

#[test]
fn the_same_behind_a_plain_request_is_400_too() {
    let site = site();
    for lines in SMUGGLING {
        let mut wire = site.dial();
        wire.say("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(wire.answer().status, 200);
        wire.say(smuggler(lines));
        let answer = wire.answer();
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(lines));
        assert_eq!(answer.header("connection"), Some("close"), "{:?}", String::from_utf8_lossy(lines));
        assert_eq!(wire.next(), Seen::Fin);
        site.assert_others_served();
    }
}

#[test]
fn line_breaks_in_what_the_app_answers_are_errors_at_the_call() {
    async fn tries(ws: WebSocket) -> nexios::Result {
        let is_invalid = |error: Error| matches!(error.downcast_ref(), Some(AcceptError::InvalidHeader(_)));
        for (name, value) in [("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X", "a\0"), ("X\r\nY", "a"), ("X: Y", "a")]
        {
            let accepted = ws.accept_with(Accept::new().header(name, value)).await;
            assert!(accepted.is_err_and(is_invalid), "accept {name:?} {value:?}");
            let rejected = ws.reject_with(Refusal::new(403, "").header(name, value)).await;
            assert!(rejected.is_err_and(is_invalid), "reject {name:?} {value:?}");
        }
        let accepted = ws.accept_with(Accept::new().subprotocol("chat\r\nX: y")).await;
        assert!(accepted.is_err_and(|error| error.is::<SubprotocolNotOffered>()));
        ws.accept_with(Accept::new().subprotocol("chat").header("X-Fine", "yes")).await
    }
    let site = Site::start(App::new().ws("/", tries));
    let mut wire = site.dial();
    wire.say(upgrade("/", "Sec-WebSocket-Protocol: chat\r\n"));
    let answer = wire.answer();
    assert_eq!((answer.status, answer.header("x-fine")), (101, Some("yes")));
    assert_eq!((answer.header("sec-websocket-protocol"), answer.header("set-cookie")), (Some("chat"), None));
    site.assert_others_served();
}

#[test]
fn a_handshake_is_answered_once() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.reject(418).await?;
        assert!(ws.accept().await.is_err());
        assert!(ws.reject(403).await.is_err());
        ws.close(1000, "").await?;
        nexios::Result::Ok(())
    }));
    assert_eq!(status(&site, upgrade("/", "")), 418);
    site.assert_causes(&[(Cause::Handler, 1)]);
}

#[test]
fn a_refusal_is_the_last_word_also_where_the_path_speaks_no_websocket() {
    let site = site();
    let request = upgrade("/nowhere", "");
    let mut wire = site.dial();
    wire.say(request + "GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert_eq!(wire.next(), Seen::Fin);
}

#[test]
fn an_address_that_a_proxy_passes_on_and_that_cannot_be_read_is_nobodys() {
    let app = App::new().trusted_proxies(["127.0.0.1"]).ws("/who", async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text(ws.client().map_or("unknown".to_owned(), |client| client.host.to_string())).await?;
        Ok(())
    });
    let site = Site::start(app);
    for (lines, client) in [
        (&b"X-Forwarded-For: 1.2.3.4\r\n"[..], "1.2.3.4"),
        (b"X-Forwarded-For: \xff\r\n", "unknown"),
        (b"X-Forwarded-For: 1.2.3.4, \xff\r\n", "unknown"),
        (b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: \xe9\r\n", "unknown"),
        (b"X-Forwarded-For: \xff, 1.2.3.4\r\n", "1.2.3.4"),
        (b"X-Forwarded-For: \", 1.2.3.4\r\n", "1.2.3.4"),
        (b"Forwarded: for=\xff\r\n", "unknown"),
        (b"Forwarded: for=6.6.6.6;x=\", for=1.2.3.4\r\n", "1.2.3.4"),
        (b"Forwarded: for=\"[::ffff:1.2.3.4]:80\"\r\n", "1.2.3.4"),
        (b"", "127.0.0.1"),
    ] {
        let mut wire = site.dial();
        let request = upgrade("/who", "");
        let head = request.strip_suffix("\r\n").unwrap();
        wire.say([head.as_bytes(), lines, b"\r\n"].concat());
        assert_eq!(wire.answer().status, 101);
        assert_eq!(wire.next(), Seen::Text(client.into()), "{}", String::from_utf8_lossy(lines));
    }
}

#[test]
fn a_forwarded_host_and_an_origin_that_cannot_be_read_let_no_page_in() {
    let site = Site::start(App::new().trusted_proxies(["127.0.0.1"]).ws("/", echo));
    for (lines, expected) in [
        (&b"Origin: http://localhost\r\n"[..], 101),
        (b"Origin: http://localhost\r\nX-Forwarded-Host: \xff\r\n", 403),
        (b"Origin: http://localhost\xff\r\n", 403),
        (b"Origin: http://localhost\r\nOrigin: \xff\r\n", 403),
        (b"Origin: https://localhost\r\nX-Forwarded-Proto: HTTPS\r\n", 101),
        (b"Origin: http://localhost\r\nX-Forwarded-Proto: https\r\n", 403),
        (b"Origin: https://localhost\r\nX-Forwarded-Proto: http\r\n", 403),
    ] {
        let request = upgrade("/", "");
        let head = request.strip_suffix("\r\n").unwrap();
        let sent = [head.as_bytes(), lines, b"\r\n"].concat();
        assert_eq!(status(&site, sent), expected, "{}", String::from_utf8_lossy(lines));
    }
}

#[test]
fn only_spaces_and_tabs_are_white_space() {
    let site = site();
    let request = upgrade("/", "");
    for (before, after, is_taken) in [
        ("Upgrade: websocket", "Upgrade: \u{a0}websocket", false),
        ("Connection: Upgrade", "Connection: \u{2003}Upgrade", false),
        ("Upgrade: websocket", "Upgrade: \t websocket \t", true),
    ] {
        let mut wire = site.dial();
        wire.say(request.replace(before, after));
        assert_eq!(wire.answer().status == 101, is_taken, "{after:?}");
    }
    let many: Vec<String> = (0..33).map(|n| format!("p{n}")).collect();
    assert_eq!(status(&site, upgrade("/", &format!("Sec-WebSocket-Protocol: {}\r\n", many.join(",")))), 400);
    assert_eq!(status(&site, upgrade("/", &format!("Sec-WebSocket-Protocol: {}\r\n", many[1..].join(",")))), 101);
}

#[test]
fn a_plain_request_names_one_host() {
    let site = Site::start(App::new().health("/health").ws("/", echo));
    for (lines, expected) in [
        ("HTTP/1.1\r\nHost: a\r\n", 200),
        ("HTTP/1.0\r\n", 200),
        ("HTTP/1.1\r\n", 400),
        ("HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("HTTP/1.1\r\nHost: a b\r\n", 400),
    ] {
        let mut wire = site.dial();
        wire.say(format!("GET /health {lines}Connection: close\r\n\r\n"));
        let answer = String::from_utf8(wire.rest_bytes()).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(expected.to_string().as_str()), "{lines:?}");
    }
}
