//! Clients of plain HTTP that do not go on: with bodies, and with answers.

use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use nexios::{App, serve::Cause};

use crate::site::Site;
use crate::transport::Directory;
use crate::wire::{Seen, Wire, eventually};

const MOMENT: Duration = Duration::from_millis(100);
const LARGE: usize = 32 << 20;

/// Answers that are long, or never end; dropped with what they hold.
fn pages(held: Arc<()>) -> Router {
    let large = held.clone();
    Router::new()
        .route("/echo", post(async |body: Bytes| body))
        .route(
            "/later",
            post(async |body: Body| {
                // The application takes its time, and that is not the client's fault.
                tokio::time::sleep(30 * MOMENT).await;
                axum::body::to_bytes(body, usize::MAX).await.map_err(|error| error.to_string())
            }),
        )
        .route("/ignored", post(async || "not read"))
        .route(
            "/large",
            get(async move || Body::new(Pieces { left: LARGE >> 16, size: 1 << 16, pause: None, _held: large })),
        )
        .route("/events", get(async move || Body::new(Pieces { left: 3, size: 8, pause: Some(pause()), _held: held })))
}

/// A body in pieces, with pauses in front of them.
struct Pieces {
    left: usize,
    size: usize,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    _held: Arc<()>,
}

fn pause() -> Pin<Box<tokio::time::Sleep>> {
    Box::pin(tokio::time::sleep(6 * MOMENT))
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(sleep) = &mut self.pause {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.pause = Some(pause());
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(vec![b'x'; self.size])))))
    }
}

fn site_with(app: App, rate: usize, held: Arc<()>) -> Site {
    site_for(4 * MOMENT, app, rate, held)
}

fn site_for(stall: Duration, app: App, rate: usize, held: Arc<()>) -> Site {
    Site::start(app.fallback_service(pages(held)).health("/health").server(move |server| {
        server.http_stall_timeout = Some(stall);
        server.http_bytes_per_second_min = rate;
    }))
}

fn post_to(path: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
}

/// Goes on by a little at a time until the server has ended it; the answer.
fn dribble(wire: &mut Wire, piece: &str) -> Vec<u8> {
    wire.stream.set_read_timeout(Some(MOMENT / 4)).unwrap();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "never given up");
        let _ = wire.stream.write_all(piece.as_bytes());
        let mut answer = [0; 1 << 10];
        if let Ok(n) = wire.stream.read(&mut answer) {
            return answer[..n].to_vec();
        }
    }
}

#[test]
fn a_body_that_stops_is_408() {
    let site = site_with(App::new(), 1000, Arc::default());
    for before in [0, 1] {
        for (framing, begun) in
            [("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nab"), ("Content-Length: 1", "")]
        {
            let mut wire = site.dial();
            for _ in 0..before {
                wire.say("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(wire.answer().status, 200);
            }
            wire.say(post_to("/echo", framing) + begun);
            site.assert_others_served();
            let answer = wire.answer();
            assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{framing}");
            assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
        }
    }
    site.assert_causes(&[(Cause::SlowHttp, 6)]);
    site.await_connections(1);
}

#[test]
fn a_body_by_a_byte_now_and_then_is_408_however_it_is_framed() {
    let site = site_with(App::new(), 100_000, Arc::default());
    for (begun, piece) in [
        (post_to("/echo", "Content-Length: 100000"), "x"),
        (post_to("/echo", "Transfer-Encoding: chunked"), "1\r\nx\r\n"),
        // An extension of a chunk, and a trailer, that never end.
        (post_to("/echo", "Transfer-Encoding: chunked") + "1;", "x"),
        (post_to("/echo", "Transfer-Encoding: chunked") + "0\r\nX: ", "x"),
    ] {
        let mut wire = site.dial();
        wire.say(&begun);
        let answer = String::from_utf8(dribble(&mut wire, piece)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{begun}: {answer}");
        site.assert_others_served();
    }
    site.await_connections(1);
}

#[test]
fn a_body_at_the_least_rate_passes_and_time_of_the_application_does_not_count() {
    let site = site_for(20 * MOMENT, App::new(), 1, Arc::default());
    let mut wire = site.dial();
    wire.say(post_to("/echo", "Content-Length: 12"));
    for _ in 0..12 {
        std::thread::sleep(3 * MOMENT);
        wire.say("x");
    }
    assert_eq!(wire.answer().body, "x".repeat(12));
    wire.say(post_to("/later", "Content-Length: 4") + "ab");
    std::thread::sleep(31 * MOMENT);
    wire.say("cd");
    assert_eq!(wire.answer().body, "abcd");
    wire.say(post_to("/ignored", "Content-Length: 4"));
    assert_eq!(wire.answer().body, "not read");
    site.assert_causes(&[]);
}

#[test]
fn an_answer_that_nobody_reads_is_reset_with_what_it_holds() {
    let (directory, held) = (Directory::new("slow-http"), Arc::new(()));
    std::fs::write(directory.0.join("large.bin"), vec![7; LARGE]).unwrap();
    let site = site_with(App::new().static_files("/files", &directory.0), 1000, held.clone());
    let (path, before) = (format!("{}", directory.0.join("large.bin").display()), Arc::strong_count(&held));
    let mut wires = Vec::new();
    for target in ["/large", "/files/large.bin"] {
        for _ in 0..3 {
            let mut wire = Wire::dial_narrow(site.address());
            wire.say(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            wires.push(wire);
        }
    }
    eventually("all are given up", || site.metrics().causes.contains(&(Cause::SlowHttp, 6)));
    site.await_connections(1);
    eventually("nothing is held", || Arc::strong_count(&held) == before && !is_open_here(&path));
    site.assert_others_served();
}

/// This process has the file open.
fn is_open_here(path: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return false };
    descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).any(|target| target.as_os_str() == path)
}

#[test]
fn an_answer_by_a_little_now_and_then_is_reset_and_one_at_the_least_rate_is_not() {
    for (rate, stall, lives) in [(100 << 20, 4 * MOMENT, false), (1, 15 * MOMENT, true)] {
        let site = site_for(stall, App::new(), rate, Arc::default());
        let mut wire = Wire::dial_narrow(site.address());
        wire.say("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        let begun = Instant::now();
        let given_up = || site.metrics().causes.contains(&(Cause::SlowHttp, 1));
        while begun.elapsed() < 4 * stall || (!lives && !given_up()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "never given up");
            // So little that the kernel never tells of room in time.
            let _ = wire.stream.read(&mut [0; 2 << 10]);
            std::thread::sleep(MOMENT / 10);
        }
        assert_eq!(given_up(), !lives, "{rate}");
    }
}

#[test]
fn an_answer_that_waits_for_its_application_is_not_given_up() {
    let site = site_with(App::new(), 1000, Arc::default());
    let mut wire = site.dial();
    wire.say("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer().body, "x".repeat(24));
    site.assert_causes(&[]);
}

#[test]
fn an_answer_is_taken_to_its_end_however_slowly_behind_the_end_of_its_connection() {
    let directory = Directory::new("slow-end");
    std::fs::write(directory.0.join("page.bin"), vec![b'x'; 300 << 10]).unwrap();
    let app = App::new().static_files("/", &directory.0).server(|server| server.connection.close_timeout = MOMENT);
    let site = Site::start(app);
    let mut wire = Wire::dial_narrow(site.address());
    wire.say("GET /page.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Until the kernel has the rest of it, so slowly that the connection ends meanwhile.
    wire.read_more();
    while site.metrics().connections > 1 {
        wire.read_more();
        std::thread::sleep(MOMENT / 2);
    }
    std::thread::sleep(2 * MOMENT);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.body.len()), (200, 300 << 10));
}

#[test]
fn a_kept_connection_without_another_request_ends() {
    let site = Site::start(App::new().health("/health").server(|server| {
        server.head_timeout = 3 * MOMENT;
        server.connection.close_timeout = MOMENT;
    }));
    let mut wire = site.dial();
    wire.say("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.next(), Seen::Fin);
    site.await_connections(1);
}
