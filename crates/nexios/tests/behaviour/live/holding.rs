//! The first frames of a fresh connection wait for its handler.

use std::sync::Arc;
use std::time::Duration;

use nexios::{App, WebSocket};
use tokio::sync::Semaphore;

use super::{frame, framed, got, offer, send_all};
use crate::bench::{Bench, Client};

const HELLO: &str = r#"{"type":"hello"}"#;
const PUBLISH: &str = r#"{"type":"publish","id":1,"room":"x","key":"k"}"#;
const JOIN: &str = r#"{"type":"join","id":2,"room":"x"}"#;
const LEAVE: &str = r#"{"type":"leave","id":3,"room":"x"}"#;
const FORBIDDEN: &str =
    r#"|{"type":"error","id":1,"code":"forbidden","message":"the application does not permit it"}|"#;

/// An app whose handler looks something up after `accept()`, for as long as the gate is closed, and then joins.
struct Site {
    bench: std::rc::Rc<Bench>,
    gate: Arc<Semaphore>,
}

impl Site {
    fn new(end: impl AsyncFn(WebSocket) + Copy + Send + Sync + 'static) -> Self {
        Self::with(App::new(), end)
    }

    fn with(app: App, end: impl AsyncFn(WebSocket) + Copy + Send + Sync + 'static) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let looked_up = gate.clone();
        let handler = move |ws: WebSocket| {
            let looked_up = looked_up.clone();
            async move {
                ws.accept().await?;
                looked_up.acquire().await?.forget();
                ws.join("x").await;
                end(ws).await;
                nexios::Result::Ok(())
            }
        };
        let is_member = async |ws: WebSocket, room: Arc<str>| ws.rooms().contains(&room);
        let yes = async |_: WebSocket, _: Arc<str>| true;
        let app = app.live(true).ws("/", handler).authorize_publish(is_member).authorize_join(yes);
        Site { bench: Bench::new(app.on_request("now", async |_: WebSocket, (): ()| "now")), gate }
    }

    /// A client that says hello and more in one piece, as one does that comes back.
    fn connect(&self, frames: &[(&str, &str)]) -> Client {
        let client = offer(&self.bench, "/");
        let frames = [(HELLO, "")].iter().chain(frames).map(|(header, payload)| framed(header, payload));
        send_all(&client, &frames.collect::<Vec<_>>());
        assert!(got(&client)[0].contains("welcome"));
        client
    }
}

fn is_published(client: &Client) -> bool {
    got(client).iter().any(|answer| answer.starts_with(r#"|{"type":"ack","id":1"#))
}

#[test]
fn a_publish_waits_until_the_handler_receives_or_waits_or_ends() {
    let receives = Site::new(async |ws| _ = ws.receive().await);
    let waits = Site::new(async |ws| ws.wait_closed().await);
    let pings = Site::new(async |ws| _ = ws.receive_ping().await);
    let spawns = Site::new(async |ws| {
        let reader = ws.clone();
        ws.spawn(async move { while reader.receive().await.is_ok() {} });
        std::future::pending::<()>().await;
    });
    for site in [receives, waits, pings, spawns] {
        for _ in 0..20 {
            let client = site.connect(&[(PUBLISH, "hello")]);
            assert!(got(&client).is_empty(), "held");
            site.gate.add_permits(1);
            assert!(is_published(&client));
        }
    }
}

#[test]
fn a_publish_waits_for_a_second_at_most_or_as_the_setting_says() {
    for (app, ms) in [(App::new(), 1000), (App::new().hold_timeout(Duration::from_secs(5)), 5000)] {
        let site = Site::with(app, async |ws| ws.wait_closed().await);
        let client = site.connect(&[(PUBLISH, "hello")]);
        site.bench.advance(Duration::from_millis(ms - 100));
        assert!(got(&client).is_empty());
        site.bench.advance(Duration::from_millis(200));
        assert_eq!(got(&client), [FORBIDDEN]);
        // The connection is not fresh any more.
        frame(&client, PUBLISH, "hello");
        assert_eq!(got(&client), [FORBIDDEN]);
    }
    let at_once = Site::with(App::new().hold_timeout(Duration::ZERO), async |ws| ws.wait_closed().await);
    let client = offer(&at_once.bench, "/");
    send_all(&client, &[framed(HELLO, ""), framed(PUBLISH, "hello")]);
    assert_eq!(got(&client)[1..], [FORBIDDEN]);
}

#[test]
fn what_comes_late_waits_no_longer_than_what_came_early() {
    let site = Site::new(async |ws| ws.wait_closed().await);
    let client = site.connect(&[]);
    site.bench.advance(Duration::from_millis(900));
    frame(&client, PUBLISH, "hello");
    assert!(got(&client).is_empty());
    site.bench.advance(Duration::from_millis(200));
    assert_eq!(got(&client), [FORBIDDEN]);
}

#[test]
fn in_a_room_the_order_is_kept_and_requests_and_pings_do_not_wait() {
    let site = Site::new(async |ws| ws.wait_closed().await);
    let request = r#"{"type":"request","id":8,"method":"now"}"#;
    let frames =
        [(PUBLISH, "1"), (LEAVE, ""), (JOIN, ""), (PUBLISH, "2"), (request, ""), (r#"{"type":"ping","id":9}"#, "")];
    let client = offer(&site.bench, "/");
    let frames = [(HELLO, "")].iter().chain(&frames).map(|(header, payload)| framed(header, payload));
    send_all(&client, &frames.collect::<Vec<_>>());
    let early = got(&client);
    assert_eq!(early[1..], [r#"|{"type":"ack","id":9}|"#, r#"|{"type":"reply","id":8}|now"#]);
    site.gate.add_permits(1);
    let error = |id: u32| {
        format!(r#"|{{"type":"error","id":{id},"code":"forbidden","message":"the application does not permit it"}}|"#)
    };
    let message = |text: &str| format!(r#"|{{"type":"message","room":"x"}}|{text}"#);
    let ack = |id: u32| format!(r#"|{{"type":"ack","id":{id}}}|"#);
    let joined = r#"|{"type":"joined","room":"x"}|"#.to_owned();
    // The client may not leave what the application has let it into.
    assert_eq!(got(&client), [joined, message("1"), ack(1), error(3), ack(2), message("2"), ack(1)]);
}

#[test]
fn a_client_enters_a_room_only_once_the_handler_is_ready() {
    let site = Site::new(async |ws| ws.wait_closed().await);
    let client = site.connect(&[(r#"{"type":"join","id":2,"room":"y"}"#, "")]);
    assert!(got(&client).is_empty() && site.bench.app.room("y").count() == 0);
    site.gate.add_permits(1);
    assert_eq!(got(&client).len(), 3);
    assert_eq!(site.bench.app.room("y").count(), 1);
}

#[test]
fn held_bytes_count_against_the_inbox_and_pause_reading() {
    let app = App::new().settings(|settings| settings.inbox_bytes_max = 1000);
    let site = Site::with(app, async |ws| ws.wait_closed().await);
    let client = site.connect(&[]);
    let payload = "x".repeat(600);
    for _ in 0..5 {
        frame(&client, PUBLISH, &payload);
    }
    // One is held; the others wait in the inbox and behind it, and so does a request.
    frame(&client, r#"{"type":"request","id":8,"method":"now"}"#, "");
    assert!(got(&client).is_empty());
    site.gate.add_permits(1);
    assert_eq!(got(&client).len(), 1 + 2 * 5 + 1);
}

#[test]
fn a_client_that_is_gone_before_the_handler_is_ready_leaves_nothing_behind() {
    let site = Site::new(async |ws| ws.wait_closed().await);
    let client = site.connect(&[(PUBLISH, "1"), (JOIN, "")]);
    client.reset();
    site.gate.add_permits(1);
    site.bench.advance(Duration::from_secs(2));
    assert_eq!(site.bench.app.room("x").count(), 0);
}
