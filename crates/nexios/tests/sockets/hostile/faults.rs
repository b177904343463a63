//! Faults of the application that a client can set off.

use nexios::{App, WebSocket, serve::Cause};
use serde_json::Value;

use crate::site::Site;
use crate::wire::{Seen, upgrade};

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
