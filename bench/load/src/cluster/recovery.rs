//! A node dies; its clients, who were in a room that remembers, come back on the other with where
//! they were, and get what they missed: how long until the last of them has it.
//!
//! All come back at once, without the random wait of a real client: the hardest case.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};

use crate::attempt::{Asked, Attempt};
use crate::cluster::Nodes;
use crate::cluster::live::{self, Position, Said};
use crate::cluster::member::Member;
use crate::cluster::numbered;
use crate::cluster::protocol::Protocol;
use crate::cluster::publisher::Publisher;
use crate::cluster::tally::Tally;
use crate::poller::{Poller, read_buffer};
use crate::report::{Deliveries, Latency, Report};
use crate::target::Target;
use crate::window::Window;

/// Who connects here speaks `nexios.v1` and is in the room; what comes on the other goes to it.
const PATH: &str = "/history";
const PUBLISHER_PATH: &str = "/history-publish";
const ROOM: &str = "history";

const SIZE: usize = 256;
const LOOK_EVERY: Duration = Duration::from_millis(10);
const JOINED_WITHIN: Duration = Duration::from_secs(30);
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);

/// Once all are back and nothing more is said, for what is on its way, and for a delivery too many.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whom to bring back.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Clients of the node that dies.
    pub clients: usize,
    /// Messages in a second, before and after; the publisher is on the node that lives.
    pub per_second: f64,
}

/// Runs the workload, and kills the first node; its unit is one client that has recovered, and its
/// latency the time from the kill until that client had everything.
pub fn run(nodes: &Nodes, recovery: &Recovery) -> Result<Report> {
    let [dies, lives] = &nodes.nodes;
    let index = recovery.clients;
    let mut publisher = Publisher::open(lives, Protocol::Plain, PUBLISHER_PATH, index, SIZE)?;
    let mut crowd = Crowd::connect(dies, recovery.clients)?;
    crowd.wait(JOINED_WITHIN, &mut publisher, Client::is_in)?;
    publisher.begin(recovery.per_second);
    let until = Instant::now() + dies.warm_up;
    while Instant::now() < until {
        crowd.turn(&mut publisher)?;
    }

    let mut window = Window::open_now(lives.process)?;
    let killed = Instant::now();
    kill(dies)?;
    crowd.reconnect(lives, &publisher)?;
    crowd.wait(RECOVERED_WITHIN, &mut publisher, Client::has_recovered)?;
    let report = window.close(Instant::now(), recovery.clients as u64)?;

    publisher.end();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        crowd.turn(&mut publisher)?;
    }
    crowd.complete(report, killed, publisher.sent())
}

fn kill(node: &Target) -> Result<()> {
    let pid = Pid::from_raw(node.process.pid() as i32).context("no process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// All clients, and the poller that knows them by their index.
struct Crowd {
    clients: Vec<Client>,
    asked: Asked,
    poller: Poller,
    buffer: Vec<u8>,
}

impl Crowd {
    fn connect(node: &Target, count: usize) -> Result<Self> {
        let (poller, asked) = (Poller::new()?, Asked::with(node, PATH, live::OFFER));
        let client = |index| Ok(Client::new(Attempt::begin(node, &asked, &poller, index, index)?));
        Ok(Self { clients: (0..count).map(client).collect::<Result<_>>()?, asked, poller, buffer: read_buffer() })
    }

    /// Drops all connections, which are dead, and begins as many on the other node.
    fn reconnect(&mut self, node: &Target, publisher: &Publisher) -> Result<()> {
        (self.poller, self.asked) = (Poller::new()?, Asked::with(node, PATH, live::OFFER));
        for (index, client) in self.clients.iter_mut().enumerate() {
            let attempt = Attempt::begin(node, &self.asked, &self.poller, index, index)?;
            client.come_back(attempt, publisher.sent());
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration, publisher: &mut Publisher, done: fn(&Client) -> bool) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            self.turn(publisher)?;
            let missing = self.clients.iter().filter(|client| !done(client)).count();
            if missing == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{missing} clients are missing after {} s", patience.as_secs());
        }
    }

    /// Publishes what is due and reads what is there.
    fn turn(&mut self, publisher: &mut Publisher) -> Result<()> {
        let now = Instant::now();
        publisher.send_due(now)?;
        for nth in 0..self.poller.wait(publisher.due_in(now).min(LOOK_EVERY))? {
            let index = self.poller.ready(nth);
            self.clients[index].advance(&self.asked, &self.poller, &mut self.buffer, index)?;
        }
        Ok(())
    }

    fn complete(&self, report: Report, killed: Instant, end: u64) -> Result<Report> {
        let mut latencies = Histogram::<u64>::new(3)?;
        let mut last = Duration::ZERO;
        for recovered in self.clients.iter().filter_map(|client| client.recovered) {
            latencies.record((recovered - killed).as_nanos() as u64)?;
            last = last.max(recovered - killed);
        }
        let tallies = self.clients.iter().filter_map(|client| client.tally.as_ref());
        Ok(Report {
            latency: Latency::from_nanoseconds(&latencies),
            deliveries: Some(Deliveries::sum(tallies.map(|tally| tally.deliveries(end)))),
            recoveries_ms: vec![last.as_secs_f64() * 1e3],
            ..report
        })
    }
}

/// One client over both of its connections.
struct Client {
    /// The handshake under way.
    attempt: Option<Attempt>,
    /// The connection behind it.
    member: Option<Member>,
    position: Option<Position>,
    /// From the first message on.
    tally: Option<Tally>,
    joined: bool,
    /// It has recovered with everything below this number.
    due: u64,
    recovered: Option<Instant>,
}

impl Client {
    fn new(attempt: Attempt) -> Self {
        Self {
            attempt: Some(attempt),
            member: None,
            position: None,
            tally: None,
            joined: false,
            due: 0,
            recovered: None,
        }
    }

    fn come_back(&mut self, attempt: Attempt, due: u64) {
        (self.attempt, self.member) = (Some(attempt), None);
        (self.joined, self.due, self.recovered) = (false, due, None);
    }

    fn is_in(&self) -> bool {
        self.joined
    }

    fn has_recovered(&self) -> bool {
        self.recovered.is_some()
    }

    fn advance(&mut self, asked: &Asked, poller: &Poller, buffer: &mut [u8], index: usize) -> Result<()> {
        let Some(mut attempt) = self.attempt.take() else { return self.listen(buffer) };
        if !attempt.advance(asked, poller, index)? {
            self.attempt = Some(attempt);
            return Ok(());
        }
        let mut member = Member::new(attempt.into_socket(), Protocol::Plain)?;
        member.send(&live::hello(ROOM, self.position.as_ref()))?;
        self.member = Some(member);
        Ok(())
    }

    fn listen(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Self { member: Some(member), position, tally, joined, .. } = self else { return Ok(()) };
        member.receive(buffer, |payload| {
            match live::hear(payload, position)? {
                Said::Joined { recovered } => {
                    ensure!(recovered || tally.is_none(), "a client that comes back is told recovered = false");
                    *joined = true;
                }
                Said::Message(message) => {
                    let number = numbered::number(message, SIZE)?;
                    tally.get_or_insert_with(|| Tally::new(number)).add(number);
                }
                Said::Lost => bail!("the server says that messages are lost"),
                Said::Welcome | Said::Other => {}
            }
            Ok(())
        })?;
        let is_complete = self.tally.as_ref().is_some_and(|tally| tally.has_all_below(self.due));
        if self.joined && is_complete && self.recovered.is_none() {
            self.recovered = Some(Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const NONCE: &str = "00112233445566778899aabbccddeeff";

    /// A client that is back, was to have everything below 5 and had what is below 3 before.
    fn back() -> (Client, UnixStream) {
        let (socket, server) = UnixStream::pair().unwrap();
        let mut tally = Tally::new(1);
        (1..3).for_each(|number| tally.add(number));
        let client = Client {
            attempt: None,
            member: Some(Member::new(socket.into(), Protocol::Plain).unwrap()),
            position: None,
            tally: Some(tally),
            joined: false,
            due: 5,
            recovered: None,
        };
        (client, server)
    }

    fn say(server: &mut UnixStream, header: &str, payload: &[u8]) {
        let text = [b"\x1e", header.as_bytes(), b"\n", payload].concat();
        server.write_all(&[0x81, 126]).unwrap();
        server.write_all(&(text.len() as u16).to_be_bytes()).unwrap();
        server.write_all(&text).unwrap();
    }

    fn say_joined(server: &mut UnixStream, recovered: bool) {
        let header = format!(
            r#"{{"type":"joined","room":"history","position":"7f-102-{NONCE}","recovered":{recovered},"later":[1]}}"#
        );
        say(server, &header, b"");
    }

    fn say_number(server: &mut UnixStream, number: u64) {
        let header = format!(r#"{{"type":"message","room":"history","offset":{},"nonce":"{NONCE}"}}"#, 100 + number);
        say(server, &header, &numbered::payload(number, SIZE));
    }

    #[test]
    fn a_client_has_recovered_once_nothing_is_missing() {
        let (mut client, mut server) = back();
        say_joined(&mut server, true);
        say_number(&mut server, 3);
        client.listen(&mut [0; 4096]).unwrap();
        assert!(client.is_in() && !client.has_recovered());
        say_number(&mut server, 4);
        client.listen(&mut [0; 4096]).unwrap();
        assert!(client.has_recovered());
    }

    #[test]
    fn a_hole_is_no_recovery() {
        let (mut client, mut server) = back();
        say_joined(&mut server, true);
        say_number(&mut server, 4);
        client.listen(&mut [0; 4096]).unwrap();
        assert!(!client.has_recovered());
    }

    #[test]
    fn a_loss_fails_the_run_and_so_does_a_position_that_is_not_known() {
        let (mut client, mut server) = back();
        say_joined(&mut server, false);
        assert!(client.listen(&mut [0; 4096]).is_err());
        let (mut client, mut server) = back();
        say(&mut server, r#"{"type":"reset","room":"history"}"#, b"");
        assert!(client.listen(&mut [0; 4096]).is_err());
    }
}
