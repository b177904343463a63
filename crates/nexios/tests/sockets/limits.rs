//! Every default limit, and each at its exact edge.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nexios::{App, Route, Serve, ServerSettings, Settings, SlowClient, WebSocket, serve::Cause};

use crate::site::{Site, echo};
use crate::wire::{BINARY, CONTINUATION, FIN, PATIENCE, PING, PONG, Seen, TEXT, Wire, eventually, frame, upgrade};

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let seconds = Duration::from_secs;
    let settings = Settings::default();
    assert_eq!(settings.message_bytes_max, Some(1 << 20));
    assert_eq!(settings.fragments_max, Some(1024));
    assert_eq!(settings.fragment_timeout, seconds(30));
    assert_eq!(settings.accept_timeout, seconds(30));
    assert_eq!((settings.ping_interval, settings.ping_timeout), (Some(seconds(20)), seconds(20)));
    assert_eq!(settings.close_timeout, seconds(5));
    assert_eq!((settings.outbox_mark_bytes, settings.outbox_bytes_max), (64 << 10, 1 << 20));
    assert_eq!((settings.drain_timeout, settings.slow_client), (seconds(5), SlowClient::Close));
    assert_eq!((settings.inbox_messages_max, settings.inbox_bytes_max), (64, 256 << 10));
    assert_eq!(settings.control_frames_per_second_max, 100);
    let compression = settings.compression.unwrap();
    assert_eq!((compression.context_takeover, compression.message_bytes_min), (false, 1024));
    let server = ServerSettings::default();
    assert_eq!(server.head_timeout, seconds(10));
    assert_eq!((server.head_bytes_max, server.headers_max), (8 << 10, 64));
    assert_eq!((server.http_stall_timeout, server.http_bytes_per_second_min), (Some(seconds(30)), 256));
    assert_eq!((server.connections_max, server.connections_per_host_max), (None, None));
    assert_eq!((server.accept_rate_max, server.shutdown_grace), (None, seconds(30)));
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_a_byte_more_is_1009() {
    let site = Site::echo(|_| {});
    let whole = vec![b'a'; 1 << 20];
    let (first, second) = whole.split_at(1 << 19);
    let mut wire = site.connect("/");
    for message in [
        frame(FIN | BINARY, &whole),
        [frame(BINARY, first), frame(CONTINUATION, second), frame(FIN | CONTINUATION, "")].concat(),
    ] {
        wire.say(message);
        assert_eq!(wire.next(), Seen::Binary(whole.clone()));
    }
    wire.say([frame(BINARY, first), frame(CONTINUATION, second)].concat());
    site.assert_others_served();
    wire.say(&frame(FIN | CONTINUATION, "b")[..6]);
    assert_eq!(wire.next(), Seen::Close(1009, String::new()));
}

#[test]
fn as_many_fragments_as_allowed_pass_and_one_more_is_1008() {
    let site = Site::echo(|_| {});
    let mut wire = site.connect("/");
    let begin = |count: usize| [frame(TEXT, "a"), frame(CONTINUATION, "a").repeat(count - 2)].concat();
    wire.say([begin(1024), frame(FIN | CONTINUATION, "a")].concat());
    assert_eq!(wire.next(), Seen::Text("a".repeat(1024)));
    wire.say([begin(1025), frame(FIN | CONTINUATION, "a")].concat());
    assert_eq!(wire.next(), Seen::Close(1008, String::new()));
}

#[test]
fn sixty_four_header_fields_pass_and_one_more_is_431() {
    let site = Site::start(App::new().ws("/", echo).health("/health"));
    // The five of every upgrade are among them.
    let fields = |count: usize| (5..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let plain = |count| format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(count + 4));
    for (count, upgraded, answered) in [(64, 101, 200), (65, 431, 431)] {
        assert_eq!(status(&site, &[&upgrade("/", &fields(count))]), upgraded, "{count}");
        assert_eq!(status(&site, &[&plain(count)]), answered, "{count}");
        assert_eq!(status(&site, &[&plain(1), &plain(count)]), answered, "{count} in a second request");
        assert_eq!(status(&site, &[&plain(1), &upgrade("/", &fields(count))]), upgraded, "{count} after a request");
    }
}

#[test]
fn a_head_of_8_kib_passes_and_a_byte_more_is_431() {
    let site = Site::start(App::new().ws("/", echo));
    let bare = upgrade("/", "X: \r\n").len();
    for (len, expected) in [(8192, 101), (8193, 431)] {
        let request = upgrade("/", &format!("X: {}\r\n", "a".repeat(len - bare)));
        assert_eq!(request.len(), len);
        assert_eq!(status(&site, &[&request]), expected, "{len}");
    }
}

/// The status of the last of some requests on one connection.
fn status(site: &Site, requests: &[&str]) -> u16 {
    let mut wire = site.dial();
    let answers = requests.iter().map(|request| {
        wire.say(request);
        wire.answer().status
    });
    answers.last().unwrap()
}

/// A handler that takes a message for each permit.
fn permitted(permits: std::sync::Arc<tokio::sync::Semaphore>) -> impl nexios::routing::Handler {
    move |ws: WebSocket| {
        let permits = permits.clone();
        async move {
            ws.accept().await?;
            loop {
                permits.acquire().await?.forget();
                ws.receive().await?;
            }
            #[allow(unreachable_code, reason = "gives the block its type")]
            nexios::Result::Ok(())
        }
    }
}

#[test]
fn reading_pauses_at_64_messages_or_256_kib_and_goes_on_at_half() {
    // A ping is answered once it is read: behind a full inbox it is not.
    for (size, fits) in [(1, 63), ((256 << 10) - 1, 1), (64 << 10, 3)] {
        let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let site = Site::start(App::new().ws("/", permitted(permits.clone())));
        let mut wire = site.connect("/");
        wire.say(frame(FIN | BINARY, vec![0; size]).repeat(fits));
        wire.say(frame(FIN | PING, "room"));
        assert_eq!(wire.next(), Seen::Pong(b"room".to_vec()), "{fits} of {size}");
        wire.say([frame(FIN | BINARY, vec![0; size]), frame(FIN | PING, "full")].concat());
        wire.assert_silent();
        site.assert_others_served();
        permits.add_permits(fits.div_ceil(2) + 1);
        assert_eq!(wire.next(), Seen::Pong(b"full".to_vec()), "{fits} of {size}");
    }
}

#[test]
fn a_client_whose_inbox_is_full_is_held_back_but_lives() {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let route = Route::new("/", permitted(permits.clone())).settings(|settings| {
        settings.ping_interval = Some(Duration::from_millis(100));
        settings.ping_timeout = Duration::from_millis(500);
    });
    let site = Site::start(App::new().route(route));
    let mut wire = site.connect("/");
    wire.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let message = frame(FIN | BINARY, vec![0; 64 << 10]);
    let mut written = 0;
    // More than the inbox and the kernel on both sides hold.
    let blocked = loop {
        assert!(written < 64 << 20, "never held back");
        match std::io::Write::write(&mut wire.stream, &message[written % message.len()..]) {
            Ok(n) => written += n,
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(blocked, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    std::thread::sleep(Duration::from_millis(1000));
    site.assert_causes(&[]);
    site.assert_others_served();
    permits.add_permits(10_000);
    wire.stream.set_write_timeout(None).unwrap();
    wire.say(&message[written % message.len()..]);
    wire.say(frame(FIN | PING, "read on"));
    assert_eq!(wire.next_message(), Seen::Pong(b"read on".to_vec()));
}

#[test]
fn a_hundred_pings_in_a_second_pass() {
    let site = Site::echo(|_| {});
    let mut wire = site.connect("/");
    wire.say(frame(FIN | PING, "p").repeat(100));
    (0..100).for_each(|_| assert_eq!(wire.next(), Seen::Pong(b"p".to_vec())));
    wire.assert_echo("still open");
    site.assert_causes(&[]);
}

#[test]
fn pings_come_within_a_fifth_of_their_interval() {
    let interval = Duration::from_millis(1000);
    let site = Site::echo(move |settings| settings.ping_interval = Some(interval));
    let mut wires: Vec<_> = (0..8).map(|_| site.connect("/")).collect();
    let begun = Instant::now();
    let mut waiting: Vec<&mut Wire> = wires.iter_mut().collect();
    waiting.iter().for_each(|wire| wire.stream.set_nonblocking(true).unwrap());
    let mut seen = Vec::new();
    while !waiting.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no ping");
        waiting.retain(|wire| {
            let here = wire.stream.peek(&mut [0]).is_ok();
            seen.extend(here.then(|| begun.elapsed()));
            !here
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    // The shard's clock has ticks of 50 ms and is never early.
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    assert!(first >= interval.mul_f64(0.75) && last <= interval.mul_f64(1.4), "{first:?} to {last:?}");
    assert!(last - first >= Duration::from_millis(50), "all at once: {seen:?}");
}

#[test]
fn a_handler_that_does_not_accept_in_time_is_504() {
    let route = Route::new("/", async |ws: WebSocket| {
        ws.wait_closed().await;
        // Too late, and an error, not a second answer.
        assert!(ws.accept().await.is_err());
    });
    let short = |settings: &mut Settings| settings.accept_timeout = Duration::from_millis(100);
    let site = Site::start(App::new().route(route.settings(short)));
    let mut wire = site.dial();
    wire.say(upgrade("/", ""));
    site.assert_others_served();
    let answer = wire.answer();
    assert_eq!((answer.status, answer.header("connection")), (504, Some("close")));
    assert_eq!(wire.next(), Seen::Fin);
    site.assert_causes(&[(Cause::SlowAccept, 1)]);
}

#[test]
fn sends_wait_above_the_mark_until_the_client_reads() {
    let (tell, told) = std::sync::mpsc::channel();
    let site = Site::start(App::new().ws("/", move |ws: WebSocket| {
        let tell = tell.clone();
        async move {
            ws.accept().await?;
            for number in 0..200u8 {
                ws.send_bytes(vec![number; 64 << 10]).await?;
                tell.send(number).unwrap();
            }
            nexios::Result::Ok(())
        }
    }));
    let mut wire = Wire::dial_narrow(site.address()).shake_hands("/");
    let mut queued = 0;
    while told.recv_timeout(Duration::from_millis(300)).is_ok() {
        queued += 1;
    }
    assert!(queued < 100, "{queued} messages for a client that does not read");
    site.assert_others_served();
    for number in 0..200u8 {
        assert_eq!(wire.next(), Seen::Binary(vec![number; 64 << 10]));
    }
    assert_eq!(wire.next(), Seen::Close(1000, String::new()));
}

/// A connection from this address of the loopback network.
fn dial_from(source: &str, site: &Site) -> Wire {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: IpAddr = source.parse().unwrap();
    socket.bind(&std::net::SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&site.address().into()).unwrap();
    Wire::over(socket.into())
}

#[test]
fn connections_of_one_host_are_limited_and_those_of_another_are_not() {
    let limited = |server: &mut ServerSettings| server.connections_per_host_max = Some(3);
    let site = Site::start(App::new().ws("/", echo).server(limited));
    // The bystander is the first of this host.
    let (first, _second) = (site.connect("/"), site.connect("/"));
    let answer = site.dial().answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    site.assert_causes(&[(Cause::HostLimit, 1)]);
    dial_from("127.0.0.2", &site).shake_hands("/").assert_echo("from another host");
    site.assert_others_served();
    drop(first);
    eventually("the place is free", || {
        let mut wire = site.dial();
        // Who is refused may be cut before it has said anything.
        let said = std::io::Write::write_all(&mut wire.stream, upgrade("/", "").as_bytes());
        said.is_ok() && wire.answer().status == 101
    });
}

#[test]
fn an_ipv4_host_is_the_same_host_on_an_ipv6_listener() {
    // Where there is no IPv6 there is nothing to look at.
    let Ok(listener) = std::net::TcpListener::bind("[::]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let limited = |server: &mut ServerSettings| server.connections_per_host_max = Some(1);
    let app = App::new().ws("/", echo).server(limited);
    let running = app.start(Serve::socket(listener).and_tcp("127.0.0.1:0")).unwrap();
    let on = |ip: &str, port| Wire::dial((ip.parse::<IpAddr>().unwrap(), port).into());
    let mut mapped = on("127.0.0.1", port).shake_hands("/");
    assert_eq!(on("127.0.0.1", running.addresses()[1].port()).answer().status, 503);
    let mut six = on("::1", port).shake_hands("/");
    assert_eq!(on("::1", port).answer().status, 503);
    mapped.assert_echo("by IPv4");
    six.assert_echo("by IPv6");
}

#[test]
fn a_pong_that_was_asked_for_is_no_unasked_control_frame() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        for number in 0..150u8 {
            ws.send_ping([number]).await?;
        }
        loop {
            ws.receive_pong().await?;
        }
        #[allow(unreachable_code, reason = "gives the closure its type")]
        nexios::Result::Ok(())
    }));
    let mut wire = site.connect("/");
    for number in 0..150u8 {
        assert_eq!(wire.next(), Seen::Ping(vec![number]));
    }
    wire.say((0..150u8).flat_map(|number| frame(FIN | PONG, [number])).collect::<Vec<u8>>());
    wire.assert_silent();
    site.assert_causes(&[]);
}
