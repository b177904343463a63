//! Values for a client that reads slowly: under `Conflate` little of what it gets is old.

use std::io::{Read, Write};

use nexios::{App, RouterHandle, Serve, Settings, SlowClient, WebSocket, WsRouter};

use crate::site::{Site, wait};
use crate::wire::{Seen, Wire};

const VALUE_BYTES: usize = 1 << 10;
const VALUES: usize = 1000;

async fn listens(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

fn values(change: impl Fn(&mut Settings) + Send + Sync + 'static, serve: Serve) -> (Site, RouterHandle) {
    let router = WsRouter::new().ws("/", listens).settings(move |settings| {
        settings.slow_client = SlowClient::Conflate;
        change(settings);
    });
    let handle = router.handle();
    (Site::start_on(App::new().mount(router), serve), handle)
}

fn tcp() -> Serve {
    Serve::tcp("127.0.0.1:0").shards(1)
}

fn value(number: usize) -> String {
    format!("{number:>VALUE_BYTES$}")
}

fn is_value(text: &str, number: usize) -> bool {
    text.trim_start() == number.to_string()
}

/// Publishes many values while nobody reads, and counts those that the client gets up to the newest.
fn values_read<S: Read + Write>(site: &Site, everybody: &RouterHandle, wire: &mut Wire<S>) -> usize {
    for number in 0..VALUES {
        wait(async { everybody.broadcast(value(number)).key("temperature").await });
        if number % 10 == 0 {
            // Its echo comes behind the turn that sends the broadcast.
            site.assert_others_served();
        }
    }
    let mut read = 0;
    loop {
        let Seen::Text(text) = wire.next() else { panic!("no value") };
        read += 1;
        if is_value(&text, VALUES - 1) {
            return read;
        }
    }
}

/// What the client's own buffer may hold of it, which is twice what it has asked for.
const NARROW: usize = 16;

#[test]
fn a_client_that_does_not_read_leaves_few_values_in_the_kernel() {
    let (site, everybody) = values(|_| {}, tcp());
    let mut wire = Wire::dial_narrow(site.address()).shake_hands("/");
    let read = values_read(&site, &everybody, &mut wire);
    assert!(read <= 32 + NARROW + 8, "{read} KiB of values were on their way");
}

#[test]
fn what_the_kernel_may_hold_is_a_setting() {
    let (site, everybody) = values(|settings| settings.kernel_bytes_max = Some(8 << 10), tcp());
    let mut wire = Wire::dial_narrow(site.address()).shake_hands("/");
    let little = values_read(&site, &everybody, &mut wire);
    assert!(little <= 8 + NARROW + 8, "{little} KiB of values were on their way");
}

#[test]
fn over_a_unix_socket_few_values_wait_too() {
    let directory = std::env::temp_dir().join(format!("nexios-values-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let (site, everybody) = values(|_| {}, tcp().and_unix(&path));
    let mut wire = Wire::new(std::os::unix::net::UnixStream::connect(&path).unwrap()).shake_hands("/");
    let read = values_read(&site, &everybody, &mut wire);
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(read <= 64, "{read} KiB of values were on their way");
}

#[test]
fn a_client_that_reads_gets_a_burst_of_different_values_whole() {
    let (site, everybody) = values(|_| {}, tcp());
    let mut wire = site.connect("/");
    for number in 0..60 {
        wait(async { everybody.broadcast(value(number)).key(number.to_string()).await });
    }
    for number in 0..60 {
        let Seen::Text(text) = wire.next() else { panic!("no value") };
        assert!(is_value(&text, number), "{} is not {number}", text.trim_start());
    }
}
