//! What the journal says: for each workload each server's figures and their ratios.

use std::collections::BTreeMap;

use load::Report;

use crate::journal::{Journal, Outcome, Run, Session};
use crate::statistics::Summary;
use crate::workload::Workload;

/// The server that the others are compared with, if it was measured; else the next one.
const REFERENCES: [&str; 3] = ["uwebsockets", "nexios", "nexios-cluster"];

/// Everything that was measured.
pub(crate) struct Results {
    pub(crate) sessions: Vec<Session>,
    pub(crate) measured: Vec<Measured>,
}

/// One workload and all servers.
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) entries: Vec<Entry>,
}

/// One workload and one server.
pub(crate) struct Entry {
    pub(crate) peer: String,
    pub(crate) language: String,
    pub(crate) shards: usize,
    /// By round.
    pub(crate) reports: BTreeMap<usize, Report>,
    /// Why a round is missing, by round.
    failures: BTreeMap<usize, String>,
}

impl Results {
    pub(crate) fn of(journal: &Journal) -> Self {
        let mut measured: Vec<Measured> = Vec::new();
        // In the order in which workloads and servers first ran. Of a run that was repeated the last counts.
        for run in &journal.runs {
            let new = || Measured { workload: run.workload.clone(), entries: Vec::new() };
            let measured = find_or_add(&mut measured, |measured| measured.workload == run.workload, new);
            let entry = find_or_add(&mut measured.entries, |entry| entry.peer == run.peer, || Entry::new(run));
            entry.add(run.round, &run.outcome);
        }
        Self { sessions: journal.sessions.clone(), measured }
    }

    /// Adds the workloads of another suite.
    pub(crate) fn extend(&mut self, other: Self) {
        self.measured.extend(other.measured);
    }

    /// The workloads that need two nodes, or the others.
    pub(crate) fn clustered(&self, clustered: bool) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(move |measured| measured.workload.is_clustered() == clustered)
    }

    pub(crate) fn find(&self, workload: &Workload) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.workload == *workload)
    }

    /// One server's figure for one workload.
    pub(crate) fn summary(&self, workload: &Workload, peer: &str) -> Option<Summary> {
        let measured = self.find(workload)?;
        measured.summary(measured.entry(peer)?)
    }
}

/// The item that is meant, added at the end if there is none.
fn find_or_add<T>(items: &mut Vec<T>, is_meant: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let index = items.iter().position(is_meant).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[index]
}

impl Measured {
    pub(crate) fn entry(&self, peer: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.peer == peer)
    }

    /// The server that the others are compared with.
    pub(crate) fn reference(&self) -> Option<&Entry> {
        let has_figures = |entry: &&Entry| self.summary(entry).is_some();
        let named = REFERENCES.iter().filter_map(|name| self.entry(name)).find(has_figures);
        named.or_else(|| self.entries.iter().find(has_figures))
    }

    /// The figure over all rounds; none for a server that failed or did not do the work in any of them.
    pub(crate) fn summary(&self, entry: &Entry) -> Option<Summary> {
        if !entry.failures.is_empty() {
            return None;
        }
        let figures: Option<Vec<f64>> = entry.reports.values().map(|report| self.workload.figure(report)).collect();
        Summary::of(figures?)
    }

    /// What the server took, compared with the reference in the same round: what slows the
    /// machine down for a while meets both. None without rounds that both have done.
    pub(crate) fn ratio(&self, entry: &Entry, reference: &Entry) -> Option<Summary> {
        self.summary(entry)?;
        self.summary(reference)?;
        let figure = |report: &Report| self.workload.figure(report);
        Summary::of(
            entry
                .reports
                .iter()
                .filter_map(|(round, report)| Some(figure(report)? / figure(reference.reports.get(round)?)?)),
        )
    }
}

impl Entry {
    fn new(run: &Run) -> Self {
        Self {
            peer: run.peer.clone(),
            language: run.language.clone(),
            shards: run.shards,
            reports: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn add(&mut self, round: usize, outcome: &Outcome) {
        self.reports.remove(&round);
        self.failures.remove(&round);
        match outcome {
            Outcome::Report(report) => drop(self.reports.insert(round, (**report).clone())),
            Outcome::Failure(failure) => drop(self.failures.insert(round, failure.clone())),
        }
    }

    /// The median of something over all rounds.
    pub(crate) fn median(&self, pick: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        Summary::of(self.reports.values().filter_map(pick)).map(|summary| summary.median)
    }

    /// Whether the load was the bottleneck in any round.
    pub(crate) fn had_saturated_load(&self) -> bool {
        self.reports.values().any(Report::load_saturated)
    }

    /// Why there is no figure.
    pub(crate) fn reason(&self) -> String {
        match self.failures.values().next() {
            Some(failure) => failure.replace('|', "/").replace('\n', " "),
            None if self.reports.is_empty() => "no rounds".to_owned(),
            None if self.had_saturated_load() => "the load did not keep up".to_owned(),
            None => "did not keep up".to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server with these figures of CPU time, one for each round.
    pub(crate) fn entry(peer: &str, language: &str, cpu_ns: &[u64]) -> Entry {
        let report = |ns: &u64| Report { units: 1, seconds: 1.0, server_cpu_ns: *ns, ..Report::default() };
        Entry {
            peer: peer.to_owned(),
            language: language.to_owned(),
            shards: 1,
            reports: (1..).zip(cpu_ns.iter().map(report)).collect(),
            failures: BTreeMap::new(),
        }
    }

    pub(crate) fn measured(workload: &str, entries: Vec<Entry>) -> Measured {
        Measured { workload: workload.parse().unwrap(), entries }
    }

    #[test]
    fn the_ratio_compares_within_rounds() {
        // The machine is three times slower in the second round, and ten times in the third.
        let entries = vec![entry("ours", "Rust", &[100, 300, 1000]), entry("theirs", "Rust", &[200, 600, 1500])];
        let measured = measured("handshakes", entries);
        let ratio = measured.ratio(&measured.entries[1], &measured.entries[0]).unwrap();
        assert_eq!(ratio, Summary { median: 2.0, min: 1.5, max: 2.0 });
    }

    #[test]
    fn a_round_that_only_one_has_done_is_left_out_of_the_ratio() {
        let mut late = entry("theirs", "Rust", &[200, 900]);
        late.reports.remove(&1);
        let measured = measured("handshakes", vec![entry("ours", "Rust", &[100, 300]), late]);
        assert_eq!(measured.ratio(&measured.entries[1], &measured.entries[0]).unwrap().median, 3.0);
    }

    #[test]
    fn a_server_that_failed_has_no_ratio_and_is_no_reference() {
        let mut broken = entry("uwebsockets", "C++", &[1]);
        broken.add(2, &Outcome::Failure("gone".to_owned()));
        let measured = measured("handshakes", vec![broken, entry("nexios", "Rust", &[1])]);
        assert!(measured.summary(&measured.entries[0]).is_none());
        assert!(measured.ratio(&measured.entries[0], &measured.entries[1]).is_none());
        assert_eq!(measured.reference().unwrap().peer, "nexios");
    }

    #[test]
    fn of_a_run_that_was_repeated_the_last_counts() {
        let mut repeated = entry("nexios", "Rust", &[1, 2, 3]);
        repeated.add(2, &Outcome::Failure("gone".to_owned()));
        assert_eq!(repeated.reason(), "gone");
        repeated.add(2, &Outcome::Report(Box::new(Report { units: 1, server_cpu_ns: 9, ..Report::default() })));
        let measured = measured("handshakes", vec![repeated]);
        assert_eq!(measured.summary(&measured.entries[0]).unwrap().max, 9.0);
    }
}
