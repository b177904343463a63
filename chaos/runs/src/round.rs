//! A round: a cluster with its clients and publishers, and each fault once.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use checker::{Report, Violation};
use clap::ValueEnum;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use crate::Result;
use crate::broker::{Broker, Kind};
use crate::cluster::{NODES, Node};
use crate::fault::{Done, Fault, World};
use crate::journal::Journal;
use crate::network::Network;
use crate::publisher::Publisher;
use crate::subscriber::{Habit, Subscriber};

const ROOMS: [&str; 4] = ["log-a", "log-b", "plain-a", "plain-b"];
/// How long traffic goes on after a fault.
const AFTER: Duration = Duration::from_secs(2);
/// Nothing is under way any more when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Clients wait for up to 30 s between two attempts.
const REST_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    /// All, where there are none.
    pub(crate) faults: Vec<Fault>,
    pub(crate) quick: bool,
}

/// What came of faults: of one, or of all rounds.
#[derive(Default)]
pub(crate) struct Totals {
    /// Done, and nothing was broken.
    pub(crate) faults: u64,
    pub(crate) skipped: u64,
    published: u64,
    delivered: u64,
    declared: u64,
    recovered: u64,
    resets: u64,
    lost: u64,
    doubled: u64,
    false_recoveries: u64,
    pub(crate) violations: u64,
}

pub(crate) async fn run(plan: &Plan, network: &Network, totals: &mut Totals) -> Result<()> {
    LocalSet::new().run_until(strike_all(plan, network, totals)).await
}

async fn strike_all(plan: &Plan, network: &Network, totals: &mut Totals) -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let broker = Broker::start(plan.kind, network).await?;
    let mut nodes = Vec::new();
    for node in 0..NODES {
        nodes.push(Node::start(broker.url(&network.address(node))).await?);
    }
    let (busy, listening) = watch::channel(false);
    let load = Load { journal: Rc::new(Journal::new()), busy };
    let tasks = load.start(&nodes, &listening, &mut rng);
    load.wait("clients join", Journal::absent).await?;

    let mut faults = plan.faults.clone();
    if faults.is_empty() {
        faults.extend(Fault::value_variants().iter().filter(|fault| fault.is_for(plan.kind)));
    }
    rng.shuffle(&mut faults);
    let (journal, quick) = (load.journal.clone(), plan.quick);
    let mut world = World { broker, nodes, network, journal, rng, quick, publishers: tasks.len() as u64 };
    let (mut before, mut complaints) = (Report::default(), 0);
    for fault in faults {
        load.busy.send_replace(true);
        sleep(AFTER / 2).await;
        let done = fault.strike(&mut world).await.map_err(|error| format!("{fault}: {error}"))?;
        if let Done::Yes(_) = done {
            sleep(AFTER).await;
        }
        let rested = load.rest().await;
        let report = load.journal.check();
        let came = Totals::of(&before, &report, &load.journal.complaints()[complaints..], &done);
        say(fault, &done, &came, rested);
        complain(plan, fault, &new_violations(&before, &report), &load.journal, complaints);
        totals.add(&came);
        (before, complaints) = (report, load.journal.complaints().len());
    }
    Ok(())
}

struct Load {
    journal: Rc<Journal>,
    busy: watch::Sender<bool>,
}

impl Load {
    /// Clients and publishers; they end with what is returned.
    fn start(&self, nodes: &[Node], busy: &watch::Receiver<bool>, rng: &mut fastrand::Rng) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let places = (0..NODES).flat_map(|node| ROOMS.map(|room| (node, room)));
        for (id, (node, room)) in (1..).zip(places) {
            let address = nodes[node].address();
            for habit in [Habit::Steady, Habit::Cable, Habit::Guest] {
                let (journal, busy) = (self.journal.clone(), busy.clone());
                let subscriber = Subscriber::new((habit, node, room), address.clone(), journal, busy, rng.fork());
                tasks.spawn_local(subscriber.run());
            }
            let (room, journal) = (room.to_owned(), self.journal.clone());
            let publisher = Publisher { id, room, node, address, journal };
            tasks.spawn_local(publisher.run(busy.clone(), rng.fork()));
        }
        tasks
    }

    /// Publishers pause, and all that is under way arrives; how long that took.
    async fn rest(&self) -> Duration {
        let since = Instant::now();
        self.busy.send_replace(false);
        if let Err(error) = self.wait("the run comes to rest", |journal| journal.unrest(QUIET)).await {
            self.journal.complain(error.to_string());
        }
        since.elapsed().saturating_sub(QUIET)
    }

    async fn wait(&self, what: &str, unrest: impl Fn(&Journal) -> Option<String>) -> Result<()> {
        let end = Instant::now() + REST_MAX;
        while let Some(unrest) = unrest(&self.journal) {
            if Instant::now() > end {
                return Err(format!("{what}: not within {} s: {unrest}", REST_MAX.as_secs()).into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn say(fault: Fault, done: &Done, came: &Totals, rested: Duration) {
    match done {
        Done::Yes(note) => {
            println!("  {:<34} {came}, at rest after {:.1} s  {note}", fault.to_string(), rested.as_secs_f32())
        }
        Done::Skipped(why) => println!("  {:<34} SKIPPED: {why}", fault.to_string()),
    }
}

/// The promises that were broken since the last look, each on a line.
fn complain(plan: &Plan, fault: Fault, new: &[&Violation], journal: &Journal, before: usize) {
    let violations = new.iter().map(|violation| match client(violation) {
        Some(client) => format!("{violation:?}; it saw last {:?}", journal.last_seen(client)),
        None => format!("{violation:?}"),
    });
    for broken in violations.chain(journal.complaints().into_iter().skip(before)).take(20) {
        println!("    BROKEN (seed {}, {}, {fault}): {broken}", plan.seed, plan.kind);
    }
}

fn client(violation: &Violation) -> Option<&str> {
    match violation {
        Violation::Duplicate { client, .. }
        | Violation::OutOfOrder { client, .. }
        | Violation::Lost { client, .. }
        | Violation::FalseRecovery { client, .. }
        | Violation::Unheard { client, .. } => Some(client),
        Violation::TwoAtOneOffset { .. } => None,
    }
}

fn new_violations<'a>(before: &Report, report: &'a Report) -> Vec<&'a Violation> {
    report.violations.iter().filter(|violation| !before.violations.contains(violation)).collect()
}

impl Totals {
    /// What came between two looks.
    fn of(before: &Report, report: &Report, complaints: &[String], done: &Done) -> Self {
        let new = new_violations(before, report);
        let violations = (new.len() + complaints.len()) as u64;
        let count = |is: fn(&Violation) -> bool| new.iter().filter(|violation| is(violation)).count() as u64;
        Totals {
            faults: u64::from(matches!(done, Done::Yes(_)) && violations == 0),
            skipped: u64::from(matches!(done, Done::Skipped(_))),
            published: report.published - before.published,
            delivered: report.delivered - before.delivered,
            declared: report.declared - before.declared,
            recovered: report.recovered - before.recovered,
            resets: report.resets - before.resets,
            lost: new.iter().map(|violation| undeclared(violation)).sum(),
            doubled: count(|violation| matches!(violation, Violation::Duplicate { .. })),
            false_recoveries: count(|violation| matches!(violation, Violation::FalseRecovery { .. })),
            violations,
        }
    }

    fn add(&mut self, other: &Totals) {
        self.faults += other.faults;
        self.skipped += other.skipped;
        self.published += other.published;
        self.delivered += other.delivered;
        self.declared += other.declared;
        self.recovered += other.recovered;
        self.resets += other.resets;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.false_recoveries += other.false_recoveries;
        self.violations += other.violations;
    }
}

fn undeclared(violation: &Violation) -> u64 {
    match violation {
        Violation::Lost { missing, declared, .. } => missing - declared,
        _ => 0,
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { published, delivered, declared, recovered, resets, lost, doubled, false_recoveries, .. } = self;
        write!(
            f,
            "published {published:>6}, delivered {delivered:>7}, declared missing {declared:>6}, recovered {recovered:>4}, \
             resets {resets:>4}, lost {lost}, twice {doubled}, falsely recovered {false_recoveries}"
        )
    }
}
