//! Clients that do not read, do not answer, or do not finish.

use std::io::Read;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nexios::{App, Route, RouterHandle, Settings, WebSocket, WsRouter, serve::Cause};

use crate::site::{Site, wait};
use crate::wire::{BINARY, FIN, PATIENCE, PING, PONG, Seen, TEXT, Wire, close, eventually, frame, header};

const MOMENT: Duration = Duration::from_millis(100);

async fn listens(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

/// A site whose clients on `/` only listen, and the handle that talks to them.
fn audience(change: impl Fn(&mut Settings) + Send + Sync + 'static) -> (Site, RouterHandle) {
    let router = WsRouter::new().ws("/", listens).settings(change);
    let handle = router.handle();
    (Site::start(App::new().mount(router)), handle)
}

fn broadcast(to: &RouterHandle, message: impl Into<nexios::Message>) {
    let message = message.into();
    wait(async { to.broadcast(message).await });
}

fn numbered(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(16 << 10)
}

#[test]
fn a_client_that_does_not_read_is_1013_and_the_others_get_everything() {
    let (site, everybody) = audience(|_| {});
    let mut slow = Wire::dial_narrow(site.address()).shake_hands("/");
    let mut fast = site.connect("/");
    let reader = std::thread::spawn(move || {
        let numbers = (0..).take_while(|number| fast.next() == Seen::Binary(numbered(*number)));
        numbers.count()
    });
    let mut sent = 0;
    while site.metrics().causes.iter().all(|&(_, count)| count == 0) {
        assert!(sent < 200, "never given up");
        broadcast(&everybody, numbered(sent));
        sent += 1;
        // Its echo comes behind the turn that sends the broadcast.
        site.assert_others_served();
    }
    site.assert_causes(&[(Cause::SlowClient, 1)]);
    broadcast(&everybody, "the end");
    assert_eq!(reader.join().unwrap(), sent as usize);
    // What it reads at last is whole, in order, and ends with the reason.
    let mut read = 0;
    let end = loop {
        match slow.next() {
            Seen::Binary(bytes) if bytes == numbered(read) => read += 1,
            other => break other,
        }
    };
    assert_eq!(end, Seen::Close(1013, "client too slow".into()));
    assert!(read < sent);
    slow.say(close(1013, ""));
    assert_eq!(slow.next(), Seen::Fin);
}

#[test]
fn a_client_that_reads_nothing_is_given_up_in_time_then_reset() {
    let (site, everybody) = audience(|settings| {
        settings.drain_timeout = MOMENT;
        settings.close_timeout = MOMENT;
    });
    let mut slow = Wire::dial_narrow(site.address()).shake_hands("/");
    broadcast(&everybody, vec![0; 900 << 10]);
    site.assert_causes(&[(Cause::SlowClient, 1)]);
    site.assert_others_served();
    site.await_connections(1);
    slow.rest_bytes();
    assert_eq!(slow.next(), Seen::Reset);
}

#[test]
fn a_slow_client_that_keeps_reading_is_not_given_up() {
    let (site, everybody) = audience(|settings| settings.drain_timeout = 3 * MOMENT);
    let mut slow = Wire::dial_narrow(site.address()).shake_hands("/");
    broadcast(&everybody, vec![7; 900 << 10]);
    let begun = Instant::now();
    assert_eq!(slow.next_slowly(Duration::from_millis(10)), Seen::Binary(vec![7; 900 << 10]));
    assert!(begun.elapsed() > 4 * MOMENT, "too fast to prove anything: {:?}", begun.elapsed());
    site.assert_causes(&[]);
}

/// So slow that the kernel never sees half of its queue gone within the drain timeout.
#[test]
fn a_client_that_takes_a_little_at_a_time_is_not_given_up() {
    let (site, everybody) = audience(|settings| settings.drain_timeout = 3 * MOMENT);
    let mut slow = Wire::dial_narrow(site.address()).shake_hands("/");
    broadcast(&everybody, vec![7; 900 << 10]);
    let (begun, mut taken) = (Instant::now(), 0);
    while begun.elapsed() < 12 * MOMENT {
        taken += slow.take_some(1 << 10);
        std::thread::sleep(MOMENT / 8);
    }
    assert!(taken < 400 << 10, "too fast to prove anything: {taken}");
    site.assert_causes(&[]);
    site.await_connections(2);
}

#[test]
fn a_close_handshake_that_never_ends_is_reset() {
    let says_goodbye = Route::new("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.close(4000, "goodbye").await?;
        ws.close(4001, "twice").await?;
        Ok(())
    });
    let site = Site::start(App::new().route(says_goodbye.settings(|settings| settings.close_timeout = 2 * MOMENT)));
    let mut silent = site.connect("/");
    let mut talkative = site.connect("/");
    let begun = Instant::now();
    for wire in [&mut silent, &mut talkative] {
        assert_eq!(wire.next(), Seen::Close(4000, "goodbye".into()));
    }
    talkative.say(frame(FIN | TEXT, "not so fast").repeat(3));
    site.assert_others_served();
    for wire in [&mut silent, &mut talkative] {
        assert_eq!(wire.next(), Seen::Reset);
    }
    let taken = begun.elapsed();
    assert!(taken >= 2 * MOMENT && taken < PATIENCE / 2, "{taken:?}");
    site.await_connections(1);
}

#[test]
fn a_client_that_closes_and_stays_is_cut() {
    let site = Site::echo(|settings| settings.close_timeout = MOMENT);
    let mut wire = site.connect("/");
    wire.say([close(1000, "bye"), close(1001, "twice"), frame(FIN | TEXT, "and more")].concat());
    assert_eq!(wire.next(), Seen::Close(1000, String::new()));
    assert_eq!(wire.next(), Seen::Fin);
    site.await_connections(1);
}

#[test]
fn a_half_open_connection_is_cut_and_one_that_answers_lives() {
    let (tell, told) = mpsc::channel();
    let waits = move |ws: WebSocket| {
        let tell = tell.clone();
        async move {
            ws.accept().await?;
            ws.wait_closed().await;
            tell.send(ws.close_code()).unwrap();
            nexios::Result::Ok(())
        }
    };
    let route = Route::new("/", waits).settings(|settings| {
        settings.ping_interval = Some(MOMENT);
        settings.ping_timeout = 2 * MOMENT;
    });
    let site = Site::start(App::new().route(route));
    let (mut dead, mut alive) = (site.connect("/"), site.connect("/"));
    for _ in 0..4 {
        let Seen::Ping(payload) = alive.next() else { panic!("no ping") };
        alive.say(frame(FIN | PONG, payload));
    }
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Some(1006)));
    assert!(matches!(dead.rest()[..], [Seen::Ping(_), Seen::Fin | Seen::Reset]));
    site.assert_causes(&[(Cause::Silence, 1)]);
    assert_eq!(alive.next_message_or_silence(), None);
    site.assert_others_served();
}

#[test]
fn a_pong_with_another_payload_does_not_count() {
    let site = Site::echo(|settings| {
        settings.ping_interval = Some(MOMENT);
        settings.ping_timeout = MOMENT;
    });
    let mut wire = site.connect("/");
    let Seen::Ping(payload) = wire.next() else { panic!("no ping") };
    assert_ne!(payload, b"");
    wire.say(frame(FIN | PONG, ""));
    assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
    site.assert_causes(&[(Cause::Silence, 1)]);
}

#[test]
fn a_message_that_is_never_finished_is_1008() {
    let site = Site::echo(|settings| settings.fragment_timeout = MOMENT);
    let in_a_message = frame(TEXT, "a");
    let in_a_payload = [header(FIN | BINARY, 100), vec![0; 10]].concat();
    let in_a_header = vec![FIN | BINARY];
    for (index, unfinished) in [in_a_message, in_a_payload, in_a_header].into_iter().enumerate() {
        let mut wire = site.connect("/");
        wire.say(&unfinished);
        site.assert_others_served();
        assert_eq!(wire.next(), Seen::Close(1008, "message not finished in time".into()));
        site.assert_causes(&[(Cause::StalledMessage, index as u64 + 1)]);
    }
}

#[test]
fn while_the_socket_is_blocked_only_the_newest_pong_is_kept() {
    let (tell, told) = mpsc::channel();
    let site = Site::start(App::new().ws("/", move |ws: WebSocket| {
        let tell = tell.clone();
        async move {
            ws.accept().await?;
            ws.send_bytes(vec![0; 8 << 20]).await?;
            tell.send(ws.receive_text().await?.to_string()).unwrap();
            ws.wait_closed().await;
            nexios::Result::Ok(())
        }
    }));
    let mut wire = Wire::dial_narrow(site.address()).shake_hands("/");
    for number in 0..50u8 {
        wire.say(frame(FIN | PING, [number]));
    }
    // Behind the pings: once the handler has it, all of them were seen.
    wire.text("asked");
    assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok("asked"));
    site.assert_others_served();
    assert_eq!(wire.next(), Seen::Binary(vec![0; 8 << 20]));
    assert_eq!(wire.next(), Seen::Pong(vec![49]));
    wire.assert_silent();
}

#[test]
fn a_client_that_does_not_take_its_refusal_holds_nothing_for_long() {
    let site = Site::start(App::new().settings(|settings| settings.close_timeout = MOMENT).server(|server| {
        server.connection.close_timeout = MOMENT;
    }));
    let mut wire = site.dial();
    wire.say("not http\r\n\r\n");
    eventually("the refusal", || site.metrics().causes.contains(&(Cause::Handshake, 1)));
    site.await_connections(1);
    assert_eq!(wire.answer().status, 400);
}

impl Wire {
    /// Reads at most so many bytes and throws them away.
    fn take_some(&mut self, bytes: usize) -> usize {
        self.stream.read(&mut vec![0; bytes]).unwrap()
    }

    /// The next frame, read in pieces with pauses between them.
    fn next_slowly(&mut self, pause: Duration) -> Seen {
        loop {
            if let Some(seen) = self.take() {
                return seen;
            }
            self.read_more();
            std::thread::sleep(pause);
        }
    }

    /// Whatever comes besides pings; `None` if nothing does for a while.
    fn next_message_or_silence(&mut self) -> Option<Seen> {
        let until = Instant::now() + 3 * MOMENT;
        while Instant::now() < until {
            match self.next() {
                Seen::Ping(payload) => self.say(frame(FIN | PONG, payload)),
                other => return Some(other),
            }
        }
        None
    }
}
