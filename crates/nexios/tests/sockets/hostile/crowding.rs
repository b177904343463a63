//! More connections than there is room for.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexios::{App, serve::Cause};

use crate::site::{Site, echo};
use crate::wire::{Seen, Wire};

/// Takes a connection's answer to nothing: who is refused is told at once.
fn assert_told_to_come_back(wire: &mut Wire) {
    let answer = wire.answer();
    assert_eq!(answer.status, 503);
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
}

#[test]
fn a_reconnect_storm_is_503_until_the_bucket_fills_up_again() {
    let site = Site::start(App::new().ws("/", echo).server(|server| server.accept_rate_max = Some(5)));
    // The bystander took the first token.
    let served: Vec<_> = (0..4).map(|_| site.connect("/")).collect();
    for index in 0..3 {
        assert_told_to_come_back(&mut site.dial());
        site.assert_causes(&[(Cause::AcceptRate, index + 1)]);
    }
    site.assert_others_served();
    std::thread::sleep(Duration::from_millis(250));
    site.connect("/").assert_echo("my turn");
    served.into_iter().for_each(|mut wire| wire.assert_echo("served all along"));
}

#[test]
fn a_full_server_is_503_and_a_place_that_is_left_is_free() {
    let site = Site::start(App::new().ws("/", echo).server(|server| server.connections_max = Some(3)));
    let (first, mut second) = (site.connect("/"), site.connect("/"));
    // One that has said its request already is told as well.
    let mut refused = site.dial();
    let _ = refused.stream.write_all(crate::wire::upgrade("/", "").as_bytes());
    assert_told_to_come_back(&mut refused);
    site.assert_causes(&[(Cause::ConnectionLimit, 1)]);
    site.assert_others_served();
    drop(first);
    site.await_connections(2);
    site.connect("/").assert_echo("room");
    second.assert_echo("still here");
}

const CHILD: &str = "NEXIOS_TEST_SERVER_WITH_FEW_DESCRIPTORS";
const DESCRIPTORS: u64 = 40;

/// The server of the test below, in a process that has few descriptors.
#[test]
#[ignore = "run by used_up_descriptors_are_503_without_spinning"]
fn server_with_few_descriptors() {
    assert!(std::env::var_os(CHILD).is_some(), "not for itself");
    let resource = rustix::process::Resource::Nofile;
    let limit = rustix::process::Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    rustix::process::setrlimit(resource, limit).unwrap();
    let site = Site::start(App::new().ws("/", echo).server(|server| server.connections_max = Some(10_000)));
    println!("\naddress {}", site.address());
    for _ in std::io::stdin().lines() {
        site.assert_others_served();
        let refused = site.metrics().causes.into_iter().find(|(cause, _)| *cause == Cause::Descriptors).unwrap().1;
        println!("refused {refused}");
    }
}

struct ServerProcess {
    child: Child,
    output: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl ServerProcess {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["hostile::crowding::server_with_few_descriptors", "--exact", "--ignored", "--nocapture"]);
        let mut child =
            command.env(CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        ServerProcess { child, output }
    }

    /// The rest of the next line that begins so.
    fn line(&mut self, start: &str) -> String {
        let lines = self.output.by_ref().map(Result::unwrap);
        let mut found = lines.filter_map(|line| line.strip_prefix(start).map(str::to_owned));
        found.next().expect("the server has ended")
    }

    /// Refusals for want of descriptors so far.
    fn refused(&mut self) -> u64 {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line("refused ").parse().unwrap()
    }

    /// User and system time so far, in hundredths of a second.
    fn ticks_of_cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn used_up_descriptors_are_503_without_spinning() {
    let mut server = ServerProcess::start();
    let address = server.line("address ").parse().unwrap();
    let mut early = Wire::dial(address).shake_hands("/");
    assert_eq!(server.refused(), 0);
    // Nothing is said on them: who gets an answer has been refused.
    let mut crowd: Vec<_> = (0..DESCRIPTORS).map(|_| Wire::dial(address)).collect();
    std::thread::sleep(Duration::from_millis(400));
    let told: Vec<_> = crowd.iter_mut().filter(|wire| wire.has_input()).collect();
    // Counted behind the look at the clients: meanwhile there may be more.
    let (refused, before, begun) = (server.refused(), server.ticks_of_cpu(), Instant::now());
    assert!(refused > 0);
    assert!(!told.is_empty() && told.len() as u64 <= refused, "{} of {refused}", told.len());
    told.into_iter().for_each(assert_told_to_come_back);
    std::thread::sleep(Duration::from_millis(700));
    let (refused_later, after) = (server.refused(), server.ticks_of_cpu());
    // 50, 100, 200, 400 ms and then every second: not one for each turn.
    let most = 2 + begun.elapsed().as_millis() / 400;
    assert!(u128::from(refused_later - refused) <= most, "{refused_later} - {refused}, at most {most}");
    assert!(after - before < 30, "{} ms of CPU in 700 ms", 10 * (after - before));
    early.assert_echo("served all along");
    drop(crowd);
    Wire::dial(address).shake_hands("/").assert_echo("room again");
}

impl Wire {
    fn has_input(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        peeked.is_ok_and(|n| n > 0)
    }
}
