//! Bytes that wait: of messages that nobody finishes, and of messages that nobody takes.

use std::time::{Duration, Instant};

use nexios::{App, Route, WebSocket, serve::Cause};

use super::framing::deflated;
use crate::site::{Site, echo};
use crate::wire::{BINARY, CONTINUATION, FIN, RSV1, Seen, TEXT, Wire, eventually, frame, upgrade};

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const KIB: usize = 1 << 10;
const REASON: &str = "too many bytes wait for their handlers";

/// Accepts and takes nothing.
async fn deaf(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    std::future::pending().await
}

/// An app whose incomplete and waiting messages may hold a mebibyte together.
fn app() -> App {
    App::new().ws("/", echo).ws("/deaf", deaf).server(|server| server.waiting_bytes_max = Some(KIB * KIB))
}

fn assert_ended_for_room(wire: &mut Wire) {
    assert_eq!(wire.next(), Seen::Close(1013, REASON.into()));
}

#[test]
fn of_messages_that_nobody_finishes_the_largest_are_ended_with_1013() {
    let site = Site::start(app());
    let begin = |kib: usize| {
        let mut wire = site.connect("/");
        wire.say(frame(BINARY, vec![b'a'; kib * KIB]));
        site.assert_others_served();
        wire
    };
    let small: Vec<Wire> = (0..4).map(|_| begin(40)).collect();
    let mut first = begin(500);
    let large = begin(400);
    assert_ended_for_room(&mut first);
    drop(large);
    for mut wire in small {
        wire.say(frame(FIN | CONTINUATION, "b"));
        assert_eq!(wire.next(), Seen::Binary([&vec![b'a'; 40 * KIB][..], b"b"].concat()));
    }
    site.assert_others_served();
}

#[test]
fn what_was_taken_or_ended_counts_no_longer() {
    let site = Site::start(app());
    for _ in 0..8 {
        let mut taken = site.connect("/");
        taken.say([frame(BINARY, vec![1; 200 * KIB]), frame(FIN | CONTINUATION, "")].concat());
        assert_eq!(taken.next(), Seen::Binary(vec![1; 200 * KIB]));
        let mut left = site.connect("/");
        left.say(frame(BINARY, vec![1; 200 * KIB]));
        left.say(frame(FIN | 8, ""));
        assert!(matches!(left.next(), Seen::Close(..)));
        let mut cut = site.connect("/");
        cut.say(frame(BINARY, vec![1; 200 * KIB]));
        drop((taken, left, cut));
        site.await_connections(1);
        site.assert_others_served();
    }
    site.assert_causes(&[]);
}

#[test]
fn messages_that_nobody_takes_count_as_they_are_inflated() {
    let site = Site::start(app().server(|server| server.waiting_bytes_max = Some(3 * KIB * KIB / 2)));
    let mebibyte = frame(FIN | RSV1 | BINARY, deflated(&vec![0; KIB * KIB]));
    assert!(mebibyte.len() < 2 * KIB);
    let mut first = site.dial().shake_hands_with("/deaf", DEFLATE);
    first.say(&mebibyte);
    site.assert_others_served();
    site.assert_causes(&[]);
    let mut second = site.dial().shake_hands_with("/deaf", DEFLATE);
    second.say(&mebibyte);
    assert_ended_for_room(&mut first);
    site.assert_causes(&[(Cause::WaitingBytes, 1)]);
    second.assert_silent();
}

#[test]
fn an_unfinished_compressed_message_counts_as_it_came() {
    let site = Site::start(app());
    let packed = deflated(&vec![b'a'; KIB * KIB]);
    let mut unfinished: Vec<Wire> = (0..40).map(|_| site.dial().shake_hands_with("/", DEFLATE)).collect();
    unfinished.iter_mut().for_each(|wire| wire.say(frame(RSV1 | BINARY, &packed)));
    site.assert_others_served();
    site.assert_causes(&[]);
    for wire in &mut unfinished {
        wire.say(frame(FIN | CONTINUATION, ""));
        assert_eq!(wire.next(), Seen::Binary(vec![b'a'; KIB * KIB]));
    }
}

#[test]
fn what_is_sent_to_a_handler_that_does_not_accept_counts_and_is_answered_503() {
    let site = Site::start(app().ws("/slow", |_ws: WebSocket| std::future::pending::<nexios::Result>()));
    let early = |kib: usize| [upgrade("/slow", "").into_bytes(), frame(FIN | BINARY, vec![0; kib * KIB])].concat();
    let waiting: Vec<Wire> = (0..40)
        .map(|_| {
            let mut wire = site.dial();
            wire.say(early(120));
            wire
        })
        .collect();
    site.assert_others_served();
    let causes = site.metrics().causes;
    let refused = causes.iter().find_map(|(cause, count)| (*cause == Cause::WaitingBytes).then_some(*count)).unwrap();
    assert!(refused > 0);
    let is_told = |wire: &Wire| {
        wire.stream.set_nonblocking(true).unwrap();
        let told = wire.stream.peek(&mut [0]).is_ok();
        wire.stream.set_nonblocking(false).unwrap();
        told
    };
    eventually("so many answers", || waiting.iter().filter(|wire| is_told(wire)).count() as u64 == refused);
    for mut wire in waiting.into_iter().filter(is_told) {
        let answer = wire.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
}

const LIVE: &str = "Sec-WebSocket-Protocol: nexios.v1\r\n";

/// A client that speaks `nexios.v1` and has asked something, with so many KiB.
fn asking(site: &Site, method: &str, kib: usize) -> Wire {
    let mut wire = site.dial().shake_hands_with("/live", LIVE);
    wire.text("\u{1E}{\"type\":\"hello\"}\n");
    assert!(matches!(wire.next(), Seen::Text(text) if text.contains("welcome")));
    let request = format!("\u{1E}{{\"type\":\"request\",\"id\":1,\"method\":\"{method}\"}}\n");
    wire.text(&[request, "a".repeat(kib * KIB)].concat());
    wire
}

#[test]
fn requests_that_nobody_answers_count_with_what_waits() {
    let app = app()
        .live(true)
        .ws("/live", deaf)
        .on_request("length", async |_: WebSocket, text: String| text.len().to_string())
        .on_request("never", async |_: WebSocket, _: String| std::future::pending::<()>().await);
    let site = Site::start(app);
    // What was answered counts no longer.
    for _ in 0..8 {
        let mut answered = asking(&site, "length", 200);
        assert!(matches!(answered.next(), Seen::Text(text) if text.ends_with("204800")));
    }
    let mut largest = asking(&site, "never", 240);
    let mut others: Vec<Wire> = [100, 100, 100, 130, 220].map(|kib| asking(&site, "never", kib)).into();
    site.assert_others_served();
    site.assert_causes(&[]);
    others.push(asking(&site, "never", 200));
    assert!(matches!(largest.next(), Seen::Text(text) if text.contains("\"closing\",\"code\":1013")));
    assert_ended_for_room(&mut largest);
    site.assert_causes(&[(Cause::WaitingBytes, 1)]);
    for mut wire in others {
        wire.assert_silent();
    }
    site.assert_others_served();
}

#[test]
fn a_message_that_takes_too_long_is_1008_though_its_bytes_keep_coming() {
    const MOMENT: Duration = Duration::from_millis(300);
    let site = Site::start(App::new().route(Route::new("/", echo).settings(|settings| {
        settings.message_timeout = Some(MOMENT);
        settings.fragment_timeout = 100 * MOMENT;
    })));
    let (mut patient, mut endless) = (site.connect("/"), site.connect("/"));
    let begun = Instant::now();
    patient.say(frame(BINARY, "a"));
    endless.say(frame(BINARY, "a"));
    let mut echoes = 0;
    while begun.elapsed() < 4 * MOMENT {
        std::thread::sleep(MOMENT / 10);
        // The end of one message and the beginning of the next: it is always in the middle of one.
        patient.say([frame(FIN | CONTINUATION, "b"), frame(BINARY, "a")].concat());
        assert_eq!(patient.next(), Seen::Binary(b"ab".to_vec()));
        endless.say(frame(CONTINUATION, "b"));
        echoes += 1;
    }
    assert!(echoes > 1);
    assert_eq!(endless.next(), Seen::Close(1008, "message not finished in time".into()));
    site.assert_causes(&[(Cause::StalledMessage, 1)]);
}

#[test]
fn the_time_of_a_message_begins_with_it_however_long_the_server_has_been_there() {
    const MOMENT: Duration = Duration::from_millis(300);
    let site = Site::echo(|settings| settings.message_timeout = Some(MOMENT));
    let mut wire = site.connect("/");
    std::thread::sleep(3 * MOMENT);
    let message = frame(FIN | TEXT, "slow");
    // The first byte of a header is no message yet.
    wire.say(&message[..1]);
    std::thread::sleep(MOMENT);
    wire.say(&message[1..]);
    assert_eq!(wire.next(), Seen::Text("slow".into()));
    site.assert_causes(&[]);
}
