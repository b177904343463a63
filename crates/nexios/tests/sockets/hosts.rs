//! The limit of connections per host, where the clients come through a proxy.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use nexios::{App, Serve, ServerSettings, serve::Cause};

use crate::site::{Site, echo};
use crate::transport::Directory;
use crate::wire::{PATIENCE, Wire, eventually, upgrade};

/// An app behind a proxy that lets each host connect twice.
fn behind(proxies: &[&str]) -> App {
    let limited = |server: &mut ServerSettings| server.connections_per_host_max = Some(2);
    App::new().ws("/", echo).health("/health").trusted_proxies(proxies.iter().copied()).server(limited)
}

fn from(client: &str) -> String {
    upgrade("/", &format!("X-Forwarded-For: {client}\r\n"))
}

fn status(wire: &mut Wire<impl std::io::Read + std::io::Write>, request: &str) -> u16 {
    wire.say(request);
    let answer = wire.answer();
    assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
    answer.status
}

#[test]
fn each_client_of_a_trusted_proxy_counts_for_itself() {
    let site = Site::start(behind(&["127.0.0.1"]));
    let connect = |request: &str| {
        let mut wire = site.dial();
        let status = status(&mut wire, request);
        (status, wire)
    };
    let mut open = Vec::new();
    for (client, expected) in [
        ("1.2.3.4", 101),
        ("1.2.3.4, 127.0.0.1", 101),
        ("::ffff:1.2.3.4", 503),
        ("5.6.7.8, 1.2.3.4", 503),
        ("5.6.7.8", 101),
        ("2001:db8:1:2::1", 101),
        ("2001:db8:1:2::2", 101),
        ("2001:db8:1:2:ffff::3", 503),
        ("2001:db8:1:3::1", 101),
        ("unknown", 101),
        ("\u{a0}", 101),
        ("_hidden", 503),
    ] {
        let (status, wire) = connect(&from(client));
        assert_eq!(status, expected, "{client:?}");
        open.push(wire);
    }
    let (contradicting, _) = connect(&upgrade("/", "X-Forwarded-For: 9.9.9.9\r\nForwarded: for=8.8.8.8\r\n"));
    assert_eq!(contradicting, 503, "a client that makes itself unknown counts with the others of that kind");
    site.assert_causes(&[(Cause::HostLimit, 5)]);
    site.assert_others_served();
    drop(open);
    eventually("the places are free", || connect(&from("2001:db8:1:2::9")).0 == 101);
    eventually("the places are free", || connect(&from("unknown")).0 == 101);
}

#[test]
fn a_place_is_free_again_however_its_connection_ended() {
    let site = Site::start(behind(&["127.0.0.1"]));
    for _ in 0..3 {
        let mut wires = [site.dial(), site.dial()];
        for wire in &mut wires {
            eventually("a place", || {
                *wire = site.dial();
                status(wire, &from("1.2.3.4")) == 101
            });
        }
        let [mut closing, cut] = wires;
        closing.say(crate::wire::close(1000, ""));
        socket2::SockRef::from(&cut.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(cut);
        // A refusal, too, gives back what it took.
        let mut foreign = site.dial();
        foreign.say(upgrade("/", "X-Forwarded-For: 1.2.3.4\r\nOrigin: http://evil.example\r\n"));
        assert!([403, 503].contains(&foreign.answer().status));
    }
    site.await_connections(1);
}

#[test]
fn over_a_unix_socket_the_clients_of_the_proxy_are_counted() {
    let directory = Directory::new("hosts");
    let path = directory.0.join("app.sock");
    let site = Site::start_on(behind(&["unix"]), Serve::tcp("127.0.0.1:0").and_unix(&path).shards(1));
    let dial = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire::new(stream)
    };
    let mut wires: Vec<_> = (0..7).map(|_| dial()).collect();
    let clients = ["1.2.3.4", "1.2.3.4", "1.2.3.4", "5.6.7.8", "", "", ""];
    let statuses: Vec<u16> = wires.iter_mut().zip(clients).map(|(wire, client)| status(wire, &from(client))).collect();
    assert_eq!(statuses, [101, 101, 503, 101, 101, 101, 503], "those that the proxy does not name count together");
    site.assert_others_served();
}

#[test]
fn plain_requests_that_a_proxy_keeps_alive_count_for_nobody() {
    let site = Site::start(behind(&["127.0.0.0/8"]));
    let plain = "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    let mut kept: Vec<_> = (0..4).map(|_| site.dial()).collect();
    for _ in 0..2 {
        kept.iter_mut().for_each(|wire| assert_eq!(status(wire, plain), 200));
    }
    // What a connection becomes counts for whom it is then.
    let statuses: Vec<u16> = kept.iter_mut().map(|wire| status(wire, &from("1.2.3.4"))).collect();
    assert_eq!(statuses, [101, 101, 503, 503]);
    assert_eq!(status(&mut site.dial(), &upgrade("/nowhere", "X-Forwarded-For: 1.2.3.4\r\n")), 404);
}

#[test]
fn who_is_not_trusted_counts_by_its_own_address_whatever_it_says() {
    let site = Site::start(behind(&["10.0.0.0/8"]));
    // The bystander is the first of this host.
    let mut wire = site.dial();
    assert_eq!(status(&mut wire, &from("1.2.3.4")), 101);
    assert_eq!(site.dial().answer().status, 503);
}
