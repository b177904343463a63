//! The rounds: servers take turns, so that a change of the machine meets all of them.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use load::Report;

use crate::comparison::{Entry, Measured};
use crate::cores::Cores;
use crate::load_process;
use crate::peers::{Built, Peer};
use crate::server::Server;
use crate::workload::Workload;

/// How each run is done.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) load_program: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
}

impl Plan {
    pub(crate) fn run(&self, workloads: &[Workload], peers: &[Built]) -> Result<Vec<Measured>> {
        let bar = ProgressBar::new((workloads.len() * peers.len() * self.rounds) as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} · {msg} · {eta} left")?);
        let measured = workloads.iter().map(|workload| self.run_workload(workload, peers, &bar)).collect();
        bar.finish_and_clear();
        Ok(measured)
    }

    fn run_workload(&self, workload: &Workload, peers: &[Built], bar: &ProgressBar) -> Measured {
        let mut entries: Vec<Entry> = peers.iter().map(|built| entry(built, workload)).collect();
        for round in 1..=self.rounds {
            for (built, entry) in peers.iter().zip(&mut entries) {
                bar.set_message(format!("{workload} · {} · round {round}", built.peer.name));
                if entry.failure.is_none() {
                    match self.measure(&built.peer, workload) {
                        Ok(report) => entry.reports.push(report),
                        Err(error) => entry.failure = Some(format!("{error:#}")),
                    }
                }
                bar.inc(1);
            }
        }
        Measured { workload: workload.clone(), entries }
    }

    /// A fresh server and a fresh load.
    fn measure(&self, peer: &Peer, workload: &Workload) -> Result<Report> {
        let server = Server::start(peer, &self.folder, self.cores.server)?;
        let mut arguments = vec![
            format!("--connect={}", server.address),
            format!("--server-pid={}", server.pid()),
            format!("--warm-up={}", self.warm_up),
            format!("--seconds={}", self.seconds),
        ];
        arguments.extend(workload.arguments());
        load_process::run(&self.load_program, self.cores.load, &arguments)
    }
}

fn entry(built: &Built, workload: &Workload) -> Entry {
    let unoffered = || (!built.peer.offers(workload.family())).then(|| "not offered".to_owned());
    let unbuilt = built.failure.as_ref().map(|_| "did not build".to_owned());
    Entry {
        peer: built.peer.name.clone(),
        language: built.peer.language.clone(),
        failure: unbuilt.or_else(unoffered),
        reports: Vec::new(),
    }
}
