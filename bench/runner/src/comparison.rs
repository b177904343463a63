//! Everything that was measured, and its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use load::Report;
use serde::Serialize;
use serde_json::json;

use crate::machine::Machine;
use crate::statistics::Summary;
use crate::workload::Workload;

/// All workloads and all servers.
pub(crate) struct Comparison {
    pub(crate) machine: Machine,
    pub(crate) reference: String,
    pub(crate) measured: Vec<Measured>,
}

/// One workload and all servers.
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) entries: Vec<Entry>,
}

/// One workload and one server.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) peer: String,
    pub(crate) language: String,
    /// Why there is no figure.
    pub(crate) failure: Option<String>,
    /// One for each round.
    pub(crate) reports: Vec<Report>,
}

impl Measured {
    /// The figure over all rounds; none for a server that failed in any of them.
    pub(crate) fn summary(&self, entry: &Entry) -> Option<Summary> {
        if entry.failure.is_some() {
            return None;
        }
        Summary::of(entry.reports.iter().map(|report| self.workload.figure(report)))
    }

    /// What the server took, compared with the reference in the same round: what slows the
    /// machine down for a while meets both. None without rounds that both have done.
    pub(crate) fn ratio(&self, entry: &Entry, reference: &str) -> Option<Summary> {
        let reference = self.entries.iter().find(|entry| entry.peer == reference)?;
        self.summary(entry)?;
        self.summary(reference)?;
        let figure = |report: &Report| self.workload.figure(report);
        let pairs = entry.reports.iter().zip(&reference.reports);
        Summary::of(pairs.map(|(report, reference)| figure(report) / figure(reference)))
    }
}

impl Comparison {
    /// Writes every run to this file in the folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let file = folder.join(name);
        fs::write(&file, serde_json::to_string_pretty(&self.to_json(seconds))?)?;
        Ok(file)
    }

    fn to_json(&self, seconds: u64) -> serde_json::Value {
        let workloads: Vec<_> = self.measured.iter().map(|measured| self.workload_json(measured)).collect();
        json!({ "unix_time": seconds, "machine": self.machine, "reference": self.reference, "workloads": workloads })
    }

    fn workload_json(&self, measured: &Measured) -> serde_json::Value {
        let entries: Vec<_> = measured
            .entries
            .iter()
            .map(|entry| {
                let (summary, ratio) = (measured.summary(entry), measured.ratio(entry, &self.reference));
                json!({ "entry": entry, "summary": summary, "ratio": ratio })
            })
            .collect();
        json!({
            "name": measured.workload.to_string(),
            "description": measured.workload.description(),
            "unit": measured.workload.unit(),
            "peers": entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(peer: &str, cpu_ns: &[u64]) -> Entry {
        let report = |ns: &u64| Report { units: 1, server_cpu_ns: *ns, ..Report::default() };
        let reports = cpu_ns.iter().map(report).collect();
        Entry { peer: peer.to_owned(), language: "Rust".to_owned(), failure: None, reports }
    }

    #[test]
    fn the_ratio_compares_within_rounds() {
        // The machine is three times slower in the second round, and ten times in the third.
        let entries = vec![entry("ours", &[100, 300, 1000]), entry("theirs", &[200, 600, 1500])];
        let measured = Measured { workload: Workload::Handshakes, entries };
        let ratio = measured.ratio(&measured.entries[1], "ours").unwrap();
        assert_eq!(ratio, Summary { median: 2.0, min: 1.5, max: 2.0 });
    }

    #[test]
    fn a_server_that_failed_has_no_ratio() {
        let broken = Entry { failure: Some("gone".to_owned()), ..entry("theirs", &[1]) };
        let measured = Measured { workload: Workload::Handshakes, entries: vec![entry("ours", &[1]), broken] };
        assert!(measured.summary(&measured.entries[1]).is_none());
        assert!(measured.ratio(&measured.entries[1], "ours").is_none());
        assert!(measured.ratio(&measured.entries[0], "theirs").is_none());
    }
}
