//! The rounds: servers take turns, so that a change of the machine meets all of them.

use std::collections::HashSet;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use load::Report;

use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::journal::{Journal, Outcome, Run};
use crate::load_process;
use crate::peers::{Built, Peer};
use crate::server::Server;
use crate::suite::{Suite, Turns};
use crate::workload::Workload;

/// A run that fails is tried once more before the server is given up.
const ATTEMPTS: usize = 2;

/// How each run is done.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) load_program: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) suite: Suite,
}

/// One run that is still to be done.
struct Due<'a> {
    workload: &'a Workload,
    built: &'a Built,
    round: usize,
}

impl Plan {
    /// Does what the journal does not have yet, all workloads of a round before the next round.
    pub(crate) fn run(&self, built: &[Built], journal: &mut Journal) -> Result<()> {
        let turns = self.suite.turns();
        let due = self.due(&turns, built, journal);
        let bar = ProgressBar::new(due.len() as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} · {msg} · {eta} left")?);
        let mut given_up = HashSet::new();
        for (done, Due { workload, built, round }) in due.iter().enumerate() {
            let name = format!("{workload} · {} · round {round}", built.peer.name);
            if !stderr().is_terminal() {
                eprintln!("{}/{} {name}", done + 1, due.len());
            }
            bar.set_message(name);
            if !given_up.contains(&(workload, &built.peer.name)) {
                let outcome = self.attempt(built, workload);
                if let Outcome::Failure(failure) = &outcome {
                    bar.suspend(|| eprintln!("{workload} on {}: {failure}", built.peer.name));
                    given_up.insert((workload, &built.peer.name));
                }
                journal.add(run(workload, &built.peer, *round, outcome))?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn due<'a>(&self, turns: &'a [Turns], built: &'a [Built], journal: &Journal) -> Vec<Due<'a>> {
        let measured = journal.measured();
        let mut due = Vec::new();
        for round in 1..=self.suite.rounds {
            for Turns { workload, peers } in turns {
                let named = peers.iter().filter_map(|name| built.iter().find(|built| built.peer.name == *name));
                let missing = named.filter(|built| !measured.contains(&(workload, built.peer.name.as_str(), round)));
                due.extend(missing.map(|built| Due { workload, built, round }));
            }
        }
        due
    }

    fn attempt(&self, built: &Built, workload: &Workload) -> Outcome {
        if built.failure.is_some() {
            return Outcome::Failure("did not build".to_owned());
        }
        if !built.peer.offers(workload.family()) {
            return Outcome::Failure("not offered".to_owned());
        }
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            match self.measure(&built.peer, workload) {
                Ok(report) => return Outcome::Report(Box::new(report)),
                Err(error) => failure = format!("{error:#}"),
            }
        }
        Outcome::Failure(failure)
    }

    /// A fresh server and a fresh load.
    fn measure(&self, peer: &Peer, workload: &Workload) -> Result<Report> {
        if workload.is_clustered() {
            return self.measure_cluster(peer, workload);
        }
        let server = Server::start(peer, &self.folder, &self.cores.server(peer.shards))?;
        let mut arguments = self.arguments(&server);
        arguments.extend(workload.arguments());
        load_process::run(&self.load_program, &self.cores.load(peer.shards), &arguments)
    }

    /// Fresh nodes, a fresh broker and a fresh load.
    fn measure_cluster(&self, peer: &Peer, workload: &Workload) -> Result<Report> {
        let cores = self.cores.shared();
        let cluster = Cluster::start(peer, &self.folder, &cores)?;
        let mut arguments = self.arguments(cluster.first());
        arguments.extend(workload.arguments());
        arguments.extend(cluster.arguments(&peer.protocol));
        load_process::run(&self.load_program, &cores, &arguments)
    }

    fn arguments(&self, server: &Server) -> Vec<String> {
        vec![
            format!("--connect={}", server.address),
            format!("--server-pid={}", server.pid()),
            format!("--warm-up={}", self.suite.warm_up),
            format!("--seconds={}", self.suite.seconds),
        ]
    }
}

fn run(workload: &Workload, peer: &Peer, round: usize, outcome: Outcome) -> Run {
    Run {
        workload: workload.clone(),
        peer: peer.name.clone(),
        language: peer.language.clone(),
        shards: peer.shards,
        round,
        outcome,
    }
}
