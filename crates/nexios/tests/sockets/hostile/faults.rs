//! Faults of the application that a client can set off, and what of it reaches the log.

use std::io;
use std::sync::{Arc, Mutex};

use nexios::{App, Cause, WebSocket};
use serde_json::Value;

use crate::site::{Site, echo};
use crate::wire::{Seen, eventually, upgrade};

#[test]
fn a_panic_ends_its_connection_only_with_1011() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let text = ws.receive_text().await?;
        panic!("set off by {}", &*text);
        #[allow(unreachable_code, reason = "gives the closure its type")]
        nexios::Result::Ok(())
    }));
    let mut wire = site.connect("/");
    wire.text("boom");
    assert_eq!(wire.next(), Seen::Close(1011, String::new()));
    site.assert_others_served();
    site.assert_causes(&[(Cause::Panic, 1)]);
}

#[test]
fn a_panic_before_accept_is_500() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        assert_ne!(ws.query("boom").as_deref(), Some("1"));
        ws.accept().await
    }));
    let mut wire = site.dial();
    wire.say(upgrade("/?boom=1", ""));
    assert_eq!(wire.answer().status, 500);
    site.assert_others_served();
    site.assert_causes(&[(Cause::Handler, 1), (Cause::Panic, 1)]);
}

#[test]
fn json_of_128_levels_is_1007() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        loop {
            let value: Value = ws.receive_json().await?;
            ws.send_text(if value.is_array() { "parsed" } else { "no list" }).await?;
        }
        #[allow(unreachable_code, reason = "gives the closure its type")]
        nexios::Result::Ok(())
    }));
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let mut wire = site.connect("/");
    wire.text(&nested(127));
    assert_eq!(wire.next(), Seen::Text("parsed".into()));
    for levels in [128, 129, 100_000] {
        let mut wire = site.connect("/");
        wire.text(&nested(levels));
        let Seen::Close(1007, reason) = wire.next() else { panic!("{levels} levels") };
        assert!(reason.starts_with("invalid JSON"), "{reason}");
        site.assert_others_served();
    }
}

/// What is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_client_says_is_escaped_and_cut_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // The only test of this binary that listens to the log: shards run on threads of their own.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let site = Site::start(App::new().ws("/", echo));
    // U+0085 is a line break to some, U+202E turns a line around; ESC and LF are no HTTP.
    let origin = format!("http://evil.example/\u{85}\u{202e}{}", "x".repeat(5000));
    let mut wire = site.dial();
    wire.say(upgrade("/", &format!("Origin: {origin}\r\n")));
    assert_eq!(wire.answer().status, 403);
    let read = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    eventually("the log line", || read().contains("evil.example"));
    let text = read();
    let line = text.lines().find(|line| line.contains("evil.example")).unwrap();
    assert!(line.contains("allowed_origins"), "{line}");
    assert!(!line.contains(['\u{85}', '\u{202e}']), "{line}");
    assert!(!line.contains(&"x".repeat(257)), "{} bytes", line.len());
    site.assert_others_served();
}
