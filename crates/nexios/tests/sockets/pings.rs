//! Pings of the server, and peers that answer only some of them (RFC 6455 §5.5.3).

use std::time::Duration;

use nexios::{App, Route, WebSocket, serve::Cause};
use tokio::join;

use crate::site::{Site, echo};
use crate::wire::{FIN, PONG, Seen, TEXT, Wire, frame};

fn payload_of_ping(wire: &mut Wire) -> Vec<u8> {
    match wire.next() {
        Seen::Ping(payload) => payload,
        seen => panic!("no ping but {seen:?}"),
    }
}

#[test]
fn the_pong_of_the_newest_ping_acknowledges_all_before_it() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let (first, second, third) = join!(ws.ping(), ws.ping(), ws.ping());
        assert!(first? >= third? && second? < Duration::from_secs(60));
        ws.send_text("all are back").await?;
        ws.wait_closed().await;
        Ok(())
    }));
    let mut wire = site.connect("/");
    let pings: Vec<_> = (0..3).map(|_| payload_of_ping(&mut wire)).collect();
    wire.say(frame(FIN | PONG, &pings[2]));
    assert_eq!(wire.next(), Seen::Text("all are back".into()));
}

#[test]
fn a_pong_acknowledges_none_that_was_sent_after_its_ping() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let answered = async |name: &str| -> nexios::Result {
            ws.ping().await?;
            ws.send_text(name).await?;
            Ok(())
        };
        let (first, second) = join!(answered("first"), answered("second"));
        first.and(second)
    }));
    let mut wire = site.connect("/");
    let (first, second) = (payload_of_ping(&mut wire), payload_of_ping(&mut wire));
    wire.say(frame(FIN | PONG, first));
    assert_eq!(wire.next(), Seen::Text("first".into()));
    wire.assert_silent();
    wire.say(frame(FIN | PONG, second));
    assert_eq!(wire.next(), Seen::Text("second".into()));
}

#[test]
fn a_peer_that_answers_only_the_newest_ping_is_not_cut() {
    let site = Site::start(
        App::new().route(
            Route::new("/", async |ws: WebSocket| {
                ws.accept().await?;
                while ws.receive().await.is_ok() {
                    ws.send_ping("of the application").await?;
                }
                Ok(())
            })
            .settings(|settings| {
                settings.ping_interval = Some(Duration::from_millis(100));
                settings.ping_timeout = Duration::from_secs(2);
            }),
        ),
    );
    let mut wire = site.connect("/");
    // Longer than the patience for a pong of the keepalive; each of its pings is answered by a later one's.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let keepalive = payload_of_ping(&mut wire);
        assert_ne!(keepalive, b"of the application");
        wire.say(frame(FIN | TEXT, "now"));
        assert_eq!(payload_of_ping(&mut wire), b"of the application");
        wire.say(frame(FIN | PONG, "of the application"));
    }
    site.assert_causes(&[]);
}

#[test]
fn a_pong_of_an_earlier_ping_is_no_answer_to_the_keepalive() {
    let site = Site::start(
        App::new().route(
            Route::new("/", async |ws: WebSocket| {
                ws.accept().await?;
                ws.send_ping("earlier").await?;
                ws.wait_closed().await;
                Ok(())
            })
            .settings(|settings| {
                settings.ping_interval = Some(Duration::from_millis(100));
                settings.ping_timeout = Duration::from_millis(300);
            }),
        ),
    );
    let mut wire = site.connect("/");
    assert_eq!(payload_of_ping(&mut wire), b"earlier");
    payload_of_ping(&mut wire);
    wire.say(frame(FIN | PONG, "earlier"));
    wire.say(frame(FIN | PONG, "unasked"));
    assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
    site.assert_causes(&[(Cause::Silence, 1)]);
}

#[test]
fn pongs_that_answer_no_ping_count_as_a_flood() {
    let site = Site::start(App::new().route(Route::new("/", echo)));
    let mut wire = site.connect("/");
    wire.say(frame(FIN | PONG, "unasked").repeat(201));
    assert!(matches!(wire.next(), Seen::Close(1008, _)));
}
