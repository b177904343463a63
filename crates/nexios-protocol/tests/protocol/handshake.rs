//! The opening handshake (RFC 6455 §4): what is taken, what is refused, and how.

use nexios_protocol::{
    ClientHandshake, HandshakeError, HandshakeResponse, HeadLimits, RequestHead, accept_key, check_upgrade,
    write_accept,
};
use proptest::prelude::*;

const GOOD: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The status that a request gets: 101, or that of its error.
fn status(request: &[u8]) -> u16 {
    match RequestHead::parse(request, &HeadLimits::default()) {
        Ok(Some((head, _))) => check_upgrade(&head).map_or_else(|error| error.status(), |_| 101),
        Ok(None) => panic!("an incomplete head: {}", String::from_utf8_lossy(request)),
        Err(error) => error.status(),
    }
}

fn with(line: &str) -> String {
    GOOD.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
}

#[test]
fn the_sample_of_rfc_6455_section_1_3_is_answered_as_printed_there() {
    let (head, used) = RequestHead::parse(GOOD.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    assert_eq!((head.method(), head.path(), used), ("GET", "/chat", GOOD.len()));
    let upgrade = check_upgrade(&head).unwrap();
    assert_eq!(upgrade.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(upgrade.subprotocols, ["chat", "superchat"]);
    assert!(upgrade.deflate_offers.is_empty());
    let mut out = Vec::new();
    write_accept(&mut out, &upgrade.accept_key, Some("chat"), None, &[]).unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_request_is_taken_in_every_form_that_is_allowed() {
    let table = [
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Host: server.example.com", "Host:"),
        ("Host: server.example.com", "Host: [::1]:8080"),
        ("Sec-WebSocket-Protocol: chat, superchat\r\n", ""),
        (
            "Sec-WebSocket-Protocol: chat, superchat",
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat",
        ),
        ("Origin: http://example.com", "Content-Length: 0"),
        ("Origin: http://example.com", "X-Latin: gr\u{fc}n"),
        ("GET /chat", "GET http://server.example.com/chat?x=1"),
    ];
    for (from, to) in table {
        assert_eq!(status(GOOD.replacen(from, to, 1).as_bytes()), 101, "{to}");
    }
}

#[test]
fn each_thing_missing_or_wrong_has_its_status() {
    let table = [
        ("GET /chat", "POST /chat", 405),
        ("GET /chat", "get /chat", 405),
        ("GET /chat", "CONNECT /chat", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("HTTP/1.1", "HTTP/2.0", 400),
        ("HTTP/1.1", "HTTP/1.9", 400),
        ("GET /chat HTTP/1.1", "GET /chat", 400),
        ("GET /chat", "GET /ch at", 400),
        ("Host: server.example.com\r\n", "", 400),
        ("Host: server.example.com", "Host: a\r\nHost: a", 400),
        ("Host: server.example.com", "Host : a", 400),
        ("Host: server.example.com", "Host: a\r\n folded", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: websockets", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Connection: Upgrade\r\n", "", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Connection: Upgrade", "Connection: not-upgrade", 400),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 013", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 426),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWRk", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl IHNhbXBsZSBub25jZQ=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("chat, superchat", "chat, chat", 400),
        ("chat, superchat", "chat room", 400),
        ("chat, superchat", "chat\r\nSec-WebSocket-Protocol: chat", 400),
        ("chat, superchat", "\"chat\"", 400),
        ("Origin: http://example.com", "Origin: a\0b", 400),
        ("Origin: http://example.com", "Origin: a\rX: b", 400),
        ("Origin: http://example.com", "no colon", 400),
    ];
    assert_eq!(status(GOOD.as_bytes()), 101);
    for (from, to, expected) in table {
        assert_eq!(status(GOOD.replacen(from, to, 1).as_bytes()), expected, "{to:?}");
    }
}

#[test]
fn a_body_cannot_be_smuggled_in_an_upgrade() {
    for line in [
        "Content-Length: 5",
        "content-length: 00",
        "Content-Length: +0",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length: 0, 5",
        "Content-Length: 0\r\nContent-Length: 5",
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: identity",
        "Transfer-Encoding:",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
    ] {
        assert_eq!(status(with(line).as_bytes()), 400, "{line:?}");
    }
    for line in [&b"Transfer-Encoding: chunked\xff"[..], b"Content-Length: 0\xff"] {
        let good = GOOD.as_bytes();
        let request = [&good[..good.len() - 2], line, b"\r\n\r\n"].concat();
        assert_eq!(status(&request), 400, "{line:02x?}");
    }
}

#[test]
fn a_refusal_names_what_would_have_been_right() {
    let headers = |error: HandshakeError| error.response_headers().to_vec();
    assert!(headers(HandshakeError::Version).contains(&("Sec-WebSocket-Version", "13")));
    assert!(headers(HandshakeError::UpgradeHeader).contains(&("Upgrade", "websocket")));
    assert!(headers(HandshakeError::Version).contains(&("Upgrade", "websocket")), "a 426 has it, RFC 9110 15.5.22");
    assert!(headers(HandshakeError::Method).contains(&("Allow", "GET")), "a 405 has it, RFC 9110 15.5.6");
}

#[test]
fn a_head_is_read_whole_wherever_it_is_cut_and_what_follows_is_left() {
    let frames = b"\x81\x80\0\0\0\0";
    for cut in 0..GOOD.len() {
        assert_eq!(RequestHead::parse(&GOOD.as_bytes()[..cut], &HeadLimits::default()), Ok(None), "{cut}");
    }
    let (_, used) = RequestHead::parse(&[GOOD.as_bytes(), frames].concat(), &HeadLimits::default()).unwrap().unwrap();
    assert_eq!(used, GOOD.len());
}

#[test]
fn a_head_over_its_limits_is_431() {
    let limits = |head_bytes_max, headers_max| HeadLimits { head_bytes_max, headers_max };
    let parse = |limits: HeadLimits| RequestHead::parse(GOOD.as_bytes(), &limits).map(|head| head.is_some());
    assert_eq!(parse(limits(GOOD.len(), 7)), Ok(true));
    assert_eq!(parse(limits(GOOD.len() - 1, 7)), Err(HandshakeError::HeadTooLarge));
    assert_eq!(parse(limits(GOOD.len(), 6)), Err(HandshakeError::HeadTooLarge));
    assert_eq!(status(with(&format!("Cookie: {}", "a".repeat(8 << 10))).as_bytes()), 431);
    assert_eq!(status(with(&"a: b\r\n".repeat(64)).trim_end().as_bytes()), 431);
    // Offsets have 16 bits: a larger limit is not obeyed beyond that.
    let long = with(&format!("Cookie: {}", "a".repeat(70_000)));
    let read = RequestHead::parse(long.as_bytes(), &limits(1 << 20, 64));
    assert_eq!(read.map(|_| ()), Err(HandshakeError::HeadTooLarge));
    let edge = with(&format!("Cookie: {}", "a".repeat(65_535 - GOOD.len() - "Cookie: \r\n".len())));
    let (head, used) = RequestHead::parse(edge.as_bytes(), &limits(1 << 20, 64)).unwrap().unwrap();
    assert_eq!((used, head.headers().count(), head.header("upgrade")), (65_535, 8, Some("websocket")));
}

/// What this client makes of an answer, where `KEY` stands for the right accept key.
pub(crate) fn read_answer(
    client: &ClientHandshake,
    answer: &str,
) -> Result<Option<(HandshakeResponse, usize)>, HandshakeError> {
    let request = String::from_utf8(client.request().unwrap()).unwrap();
    let (head, _) = RequestHead::parse(request.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    let key = accept_key(head.header("sec-websocket-key").unwrap());
    client.parse_response(answer.replace("KEY", &key).as_bytes())
}

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: KEY\r\n\r\n";

/// A good answer with one more line.
pub(crate) fn answer_with(line: &str) -> String {
    ANSWER.replace("KEY\r\n", &format!("KEY\r\n{line}\r\n"))
}

#[test]
fn a_client_takes_a_good_answer_in_any_form() {
    let client = ClientHandshake::new("a", "/").subprotocol("v1").subprotocol("v2");
    let table = [
        ("websocket", "WebSocket"),
        ("101 Switching Protocols", "101 Fine"),
        ("Connection: Upgrade", "connection: keep-alive, UPGRADE"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Upgrade: websocket", "Server: nexios\r\nUpgrade: websocket"),
    ];
    for (from, to) in table {
        assert!(matches!(read_answer(&client, &ANSWER.replacen(from, to, 1)), Ok(Some(_))), "{to}");
    }
    let (response, _) = read_answer(&client, &answer_with("Sec-WebSocket-Protocol: v2")).unwrap().unwrap();
    assert_eq!((response.status, response.subprotocol.as_deref(), response.deflate), (101, Some("v2"), None));
    for cut in 0..ANSWER.len() - 3 {
        assert_eq!(client.parse_response(&ANSWER.as_bytes()[..cut]), Ok(None), "{cut}");
    }
    let (_, used) = read_answer(&client, &format!("{ANSWER}\u{1}frames")).unwrap().unwrap();
    assert_eq!(used, ANSWER.len() + 28 - "KEY".len());
}

#[test]
fn a_client_refuses_wrong_answers() {
    let client = ClientHandshake::new("a", "/").subprotocol("v1").subprotocol("v2");
    let two = "Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol: v2";
    let table = [
        (ANSWER.replace("Upgrade: websocket\r\n", ""), HandshakeError::UpgradeHeader),
        (ANSWER.replace("Upgrade: websocket", "Upgrade: h2c"), HandshakeError::UpgradeHeader),
        (ANSWER.replace("Connection: Upgrade\r\n", ""), HandshakeError::ConnectionHeader),
        (ANSWER.replace("Connection: Upgrade", "Connection: close"), HandshakeError::ConnectionHeader),
        (ANSWER.replace("Connection: Upgrade", "Connection: not-upgrade"), HandshakeError::ConnectionHeader),
        (ANSWER.replace("Sec-WebSocket-Accept: KEY\r\n", ""), HandshakeError::Accept),
        (ANSWER.replace("KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), HandshakeError::Accept),
        (ANSWER.replace("KEY", ""), HandshakeError::Accept),
        (answer_with("Sec-WebSocket-Accept: KEY"), HandshakeError::Accept),
        (answer_with("Sec-WebSocket-Protocol: v3"), HandshakeError::UnofferedSubprotocol),
        (answer_with("Sec-WebSocket-Protocol: V1"), HandshakeError::UnofferedSubprotocol),
        (answer_with("Sec-WebSocket-Protocol: v1, v2"), HandshakeError::UnofferedSubprotocol),
        (answer_with("Sec-WebSocket-Protocol:"), HandshakeError::UnofferedSubprotocol),
        (answer_with(two), HandshakeError::UnofferedSubprotocol),
        (answer_with("Sec-WebSocket-Extensions: permessage-deflate"), HandshakeError::Extension),
        (answer_with("no colon"), HandshakeError::MalformedHead),
        ("\u{16}\u{3}\u{1} is TLS".to_owned(), HandshakeError::MalformedHead),
    ];
    for (answer, error) in table {
        assert_eq!(read_answer(&client, &answer), Err(error), "{answer}");
    }
    let unasked = read_answer(&ClientHandshake::new("a", "/"), &answer_with("Sec-WebSocket-Protocol: v1"));
    assert_eq!(unasked, Err(HandshakeError::UnofferedSubprotocol));
    for status in [100, 200, 301, 400, 403, 426, 500] {
        let answer = ANSWER.replace("101", &status.to_string());
        let refused = read_answer(&client, &answer);
        assert!(matches!(refused, Err(HandshakeError::Refused { status: got, .. }) if got == status));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_the_app_sets_is_one_header_or_refused(
        name in prop_oneof!["[a-zA-Z-]{1,8}", "[a\r\n: é\0]{0,4}"],
        value in prop_oneof!["[ -~]{0,12}", "[a\r\n: é\0\t\u{7f}]{0,6}"],
        subprotocol in proptest::option::of(prop_oneof!["[a-z.]{1,6}", "[a\r\n: \0]{1,4}"]),
    ) {
        let mut out = b"before".to_vec();
        let headers = [(name.clone(), value.clone())];
        let written = write_accept(&mut out, "key=", subprotocol.as_deref(), None, &headers);
        if written.is_err() {
            prop_assert_eq!(out, b"before");
            return Ok(());
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&out[6..]).unwrap();
        prop_assert_eq!(parsed, httparse::Status::Complete(out.len() - 6));
        prop_assert_eq!(response.headers.len(), 4 + usize::from(subprotocol.is_some()));
        let last = response.headers.last().unwrap();
        prop_assert_eq!(last.name, name);
        prop_assert_eq!(last.value, value.trim_matches([' ', '\t']).as_bytes());
    }

    #[test]
    fn no_request_makes_the_parser_panic(
        mut request in Just(GOOD.as_bytes().to_vec()),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (index, byte) in damage {
            let index = index.index(request.len());
            request[index] = byte;
        }
        if let Ok(Some((head, used))) = RequestHead::parse(&request, &HeadLimits::default()) {
            prop_assert!(used <= request.len());
            prop_assert!(head.target().ends_with(head.query()));
            if let Ok(upgrade) = check_upgrade(&head) {
                prop_assert_eq!(upgrade.accept_key.len(), 28);
            }
        }
    }
}

#[test]
fn a_client_cannot_be_made_to_send_a_line_break() {
    let clean = || ClientHandshake::new("server.example", "/chat");
    let bad = [
        ClientHandshake::new("server.example\r\nX: y", "/"),
        ClientHandshake::new("server.example", "/ HTTP/1.1\r\nX: y"),
        ClientHandshake::new("server.example", ""),
        clean().subprotocol("chat\r\nX: y"),
        clean().header("X\r\nY", "z"),
        clean().header("X", "y\r\nZ: 1"),
    ];
    for handshake in bad {
        assert!(matches!(handshake.request(), Err(HandshakeError::InvalidHeader(_))), "{handshake:?}");
    }
    assert!(clean().header("X", "y").request().is_ok());
}

#[test]
fn an_application_cannot_overwrite_the_fields_of_the_101() {
    let fields = ["Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Accept"];
    for name in fields {
        let headers = [(name.to_owned(), "0".to_owned())];
        let refused = write_accept(&mut Vec::new(), "key", None, None, &headers);
        assert_eq!(refused, Err(HandshakeError::ReservedHeader(name.to_owned())));
    }
}
