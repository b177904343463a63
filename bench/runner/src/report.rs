//! BENCHMARKS.md, its charts, and the file with every run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::chart;
use crate::goals::{Goals, Standing, Verdict};
use crate::journal::{Journal, Session};
use crate::peers::Peer;
use crate::results::{Measured, Results};
use crate::table;
use crate::workload::Growth;

/// Above this part of a core, others were at work too.
const OTHERS_QUIET: f64 = 0.05;

/// Where the report goes.
pub(crate) struct Places {
    /// The Markdown file.
    pub(crate) page: PathBuf,
    /// The folder of charts and runs, and how the page names it.
    pub(crate) folder: PathBuf,
    pub(crate) link: String,
}

/// The suite of clusters, which has a section of its own beside any other.
pub(crate) const CLUSTER: &str = "cluster";

/// What was measured.
pub(crate) struct Journals {
    pub(crate) suite: Journal,
    /// That of [`CLUSTER`], where it is not the suite itself.
    pub(crate) cluster: Option<Journal>,
}

/// Writes everything; `suite` is what was measured.
pub(crate) fn write(journals: &Journals, suite: &str, goals: &Goals, peers: &[Peer], places: &Places) -> Result<()> {
    let mut results = Results::of(&journals.suite);
    ensure!(!results.measured.is_empty(), "nothing was measured yet: {} is empty", journals.suite.file().display());
    if let Some(cluster) = &journals.cluster {
        results.extend(Results::of(cluster));
    }
    fs::create_dir_all(&places.folder)?;
    let verdicts = goals.verdicts(&results);
    let cluster = journals.cluster.as_ref().and_then(|cluster| cluster.sessions.last());
    let page = Page { suite, results: &results, cluster, verdicts: &verdicts, peers, places };
    fs::write(&places.page, page.text()?)?;
    fs::write(places.folder.join("runs.json"), runs(journals)?)?;
    Ok(())
}

/// Every run as one JSON value, each on a line of its own.
fn runs(journals: &Journals) -> Result<String> {
    let both = || [&journals.suite].into_iter().chain(&journals.cluster);
    let sessions = serde_json::to_string(&both().flat_map(|journal| &journal.sessions).collect::<Vec<_>>())?;
    let runs = both().flat_map(|journal| &journal.runs).map(serde_json::to_string);
    let runs: Vec<String> = runs.collect::<Result<_, _>>()?;
    Ok(format!("{{\"sessions\": {sessions},\n\"runs\": [\n{}\n]}}\n", runs.join(",\n")))
}

/// For the terminal: the tables without charts, and the goals.
pub(crate) fn print(journal: &Journal, goals: &Goals) {
    let results = Results::of(journal);
    for measured in &results.measured {
        println!("{}: {}\n\n{}", measured.workload, measured.workload.description(), table::of_workload(measured));
    }
    for growth in Growth::ALL {
        if let Some(table) = table::of_growth(&results, growth) {
            println!("{}\n\n{table}", growth.description());
        }
    }
    if let Some(table) = table::of_shards(&results) {
        println!("Two threads, which share their cores with the load\n\n{table}");
    }
    let verdicts = goals.verdicts(&results);
    let measured: Vec<Verdict> =
        verdicts.into_iter().filter(|verdict| verdict.standing != Standing::NotMeasured).collect();
    if !measured.is_empty() {
        println!("{}", table::of_goals(&measured));
    }
    println!("{}", noise(&results.measured));
}

/// What measures a suite, and what writes the page from it.
fn commands(suite: &str) -> &'static str {
    match suite {
        "quick" => "make bench\nSUITE=quick make bench-report",
        CLUSTER => "make bench-cluster\nSUITE=cluster make bench-report",
        _ => "make bench-all      # a second call goes on where the first was interrupted\nmake bench-report",
    }
}

struct Page<'a> {
    suite: &'a str,
    results: &'a Results,
    /// The last call of the suite of clusters, where that is another suite than this.
    cluster: Option<&'a Session>,
    verdicts: &'a [Verdict],
    peers: &'a [Peer],
    places: &'a Places,
}

impl Page<'_> {
    fn text(&self) -> Result<String> {
        let last = self.results.sessions.last().context("nothing was measured yet")?;
        let mut text = String::from(
            "# Benchmarks\n\nWritten by the commands under *Conditions*; edits are lost. How it is measured, and how to \
             measure one thing only: [bench/README.md](bench/README.md).\n\n",
        );
        self.goals(&mut text);
        self.conditions(&mut text, last);
        self.servers(&mut text, last);
        self.workloads(&mut text)?;
        self.growth(&mut text)?;
        self.shards(&mut text);
        self.clusters(&mut text)?;
        self.not_measured(&mut text, last);
        Ok(text)
    }

    fn goals(&self, text: &mut String) {
        let count = |standing| self.verdicts.iter().filter(|verdict| verdict.standing == standing).count();
        let missed = count(Standing::Missed) + count(Standing::MissedWithinSpread);
        let (met, unmeasured) = (count(Standing::Met), count(Standing::NotMeasured));
        let _ = write!(
            text,
            "## Goals\n\n{met} met, {missed} missed, {unmeasured} not measured. A ratio below 1 means less CPU time, \
             memory or latency than the other server in the same round; the goals are in `bench/goals.toml`.\n\n{}\n",
            table::of_goals(self.verdicts)
        );
    }

    fn conditions(&self, text: &mut String, last: &Session) {
        let machine = &last.machine;
        // The suite's own, without those of the clusters beside it.
        let own = || self.results.measured.iter().filter(|one| self.suite == CLUSTER || !one.workload.is_clustered());
        let rounds = rounds(own());
        let mut revisions: Vec<&str> = self.results.sessions.iter().map(|session| session.revision.as_str()).collect();
        revisions.dedup();
        let _ = write!(
            text,
            "## Conditions\n\n\
             - {}, {} cores, {} MiB, Linux {}, {}.\n\
             - Revision {}.\n\
             - Up to {rounds} rounds, the servers taking turns; windows of {} s after {} s of warm-up.\n\
             - Server and load are pinned to a core each; every server has one thread, but for the sections on two.\n\
             - CPU time is what the kernel books on the server's process (`/proc/<pid>/task/*/schedstat`).\n\
             - {}\n\n\
             ```sh\n{}\n```\n\n",
            machine.processor,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            machine.compiler,
            revisions.join(", then "),
            last.seconds,
            last.warm_up,
            noise(own()),
            commands(self.suite)
        );
    }

    fn servers(&self, text: &mut String, last: &Session) {
        text.push_str(
            "## Servers\n\n| server | language | what it consists of | how it is started |\n|---|---|---|---|\n",
        );
        let cluster = self.cluster.into_iter().flat_map(|session| &session.versions);
        for (name, version) in last.versions.iter().chain(cluster) {
            let Some(peer) = self.peers.iter().find(|peer| peer.name == *name) else { continue };
            let _ = writeln!(text, "| {name} | {} | {version} | `{}` |", peer.language, peer.lines().1);
        }
        text.push('\n');
    }

    fn workloads(&self, text: &mut String) -> Result<()> {
        if self.results.clustered(false).next().is_none() {
            return Ok(());
        }
        text.push_str("## Workloads\n\nLess is better. In brackets: the lowest and the highest round.\n\n");
        for measured in self.results.clustered(false).filter(|measured| measured.workload.has_table()) {
            self.workload(text, measured)?;
        }
        Ok(())
    }

    fn workload(&self, text: &mut String, measured: &Measured) -> Result<()> {
        let name = measured.workload.to_string();
        let _ = write!(text, "### {name}\n\n{}.\n\n", measured.workload.description());
        self.chart(text, &name, |file| chart::of_workload(measured, file))?;
        let _ = writeln!(text, "{}", table::of_workload(measured));
        Ok(())
    }

    fn clusters(&self, text: &mut String) -> Result<()> {
        if self.results.clustered(true).next().is_none() {
            return Ok(());
        }
        text.push_str(
            "## Two nodes\n\nTwo processes of one server with Redis between them. Nodes, Redis and load share both cores. \
             The cost is that of both nodes together; *Redis* is its own for each delivery. Latency is that of clients of the \
             other node than the publisher's, from the time at which a message was to be sent.\n\n",
        );
        if let Some(session) = self.cluster {
            let rounds = rounds(self.results.clustered(true));
            let Session { revision, seconds, warm_up, .. } = session;
            let _ = write!(
                text,
                "Revision {revision}, up to {rounds} rounds, windows of {seconds} s after {warm_up} s of warm-up. {}\n\n\
                 ```sh\nmake bench-cluster\n```\n\n",
                noise(self.results.clustered(true))
            );
        }
        for measured in self.results.clustered(true) {
            self.workload(text, measured)?;
        }
        Ok(())
    }

    fn growth(&self, text: &mut String) -> Result<()> {
        for growth in Growth::ALL {
            let Some(table) = table::of_growth(self.results, growth) else { continue };
            let _ = write!(text, "## {}\n\n", growth.description());
            self.chart(text, growth.name(), |file| chart::of_growth(self.results, growth, file))?;
            let _ = writeln!(text, "{table}");
        }
        Ok(())
    }

    fn shards(&self, text: &mut String) {
        if let Some(table) = table::of_shards(self.results) {
            let _ = write!(
                text,
                "## Two threads\n\nHere the load has no core of its own: it shares both with the server. The throughput \
                 is that of both together, and says less than the cost.\n\n{table}\n"
            );
        }
    }

    fn not_measured(&self, text: &mut String, last: &Session) {
        let _ = write!(text, "## What was not measured\n\n{}", include_str!("../not_measured.md"));
        let cluster = self.cluster.into_iter().flat_map(|session| &session.unbuilt);
        for (name, reason) in last.unbuilt.iter().chain(cluster) {
            let reason = reason.lines().next().unwrap_or_default();
            let _ = writeln!(text, "- {name}: it did not build ({reason}).");
        }
        for ((peer, reason), workloads) in failures(self.results) {
            let _ = writeln!(text, "- {peer}: {} ({reason}).", workloads.join(", "));
        }
    }

    fn chart(&self, text: &mut String, name: &str, draw: impl FnOnce(&Path) -> Result<bool>) -> Result<()> {
        let file = format!("{name}.svg");
        if draw(&self.places.folder.join(&file))? {
            let _ = write!(text, "![{name}]({}/{file})\n\n", self.places.link);
        }
        Ok(())
    }
}

/// For each server and reason the workloads without a figure.
fn failures(results: &Results) -> BTreeMap<(&str, String), Vec<String>> {
    let mut failures: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for measured in &results.measured {
        let silent = measured.entries.iter().filter(|entry| measured.summary(entry).is_none());
        for entry in silent.filter(|entry| entry.reason() != "did not build") {
            failures.entry((entry.peer.as_str(), entry.reason())).or_default().push(measured.workload.to_string());
        }
    }
    failures
}

/// The most that any server has done.
fn rounds<'a>(measured: impl IntoIterator<Item = &'a Measured>) -> usize {
    let entries = measured.into_iter().flat_map(|measured| &measured.entries);
    entries.map(|entry| entry.reports.len()).max().unwrap_or(0)
}

/// Whether the machine was quiet.
fn noise<'a>(measured: impl IntoIterator<Item = &'a Measured>) -> String {
    let reports = measured.into_iter().flat_map(|measured| &measured.entries);
    let shares: Vec<f64> =
        reports.flat_map(|entry| entry.reports.values()).filter_map(load::Report::others_share).collect();
    let noisy = shares.iter().filter(|share| **share > OTHERS_QUIET).count();
    if noisy == 0 {
        return format!(
            "The machine was quiet: in no run did others take over {:.0} % of a core.",
            100.0 * OTHERS_QUIET
        );
    }
    let median = crate::statistics::Summary::of(shares.iter().copied()).map_or(0.0, |summary| summary.median);
    format!(
        "**The machine was not quiet:** in {noisy} of {} runs others took over {:.0} % of a core; median {:.0} %.",
        shares.len(),
        100.0 * OTHERS_QUIET,
        100.0 * median
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Outcome, Run};

    #[test]
    fn the_page_has_goals_conditions_tables_charts_and_what_is_missing() {
        let folder = std::env::temp_dir().join(format!("bench-report-{}", std::process::id()));
        let mut journal = Journal::open(folder.join("runs.jsonl")).unwrap();
        journal.begin(session()).unwrap();
        for (peer, ns) in [("uwebsockets", 100), ("nexios", 90)] {
            journal
                .add(run(
                    peer,
                    Outcome::Report(Box::new(load::Report { units: 1, server_cpu_ns: ns, ..Default::default() })),
                ))
                .unwrap();
        }
        journal.add(run("axum", Outcome::Failure("it ended".to_owned()))).unwrap();
        let goals =
            toml::from_str("[[goal]]\nworkload = \"handshakes\"\npeer = \"nexios\"\nto = \"uwebsockets\"\nmax = 1.2")
                .unwrap();
        let mut cluster = Journal::open(folder.join("cluster.jsonl")).unwrap();
        cluster
            .begin(Session { revision: "def".to_owned(), unbuilt: Vec::new(), versions: Vec::new(), ..session() })
            .unwrap();
        let report = load::Report { units: 1, server_cpu_ns: 700, ..Default::default() };
        let workload = "cluster-50".parse().unwrap();
        cluster.add(Run { workload, ..run("nexios-cluster", Outcome::Report(Box::new(report))) }).unwrap();
        let journals = Journals { suite: journal, cluster: Some(cluster) };
        let places = Places { page: folder.join("page.md"), folder: folder.join("charts"), link: "charts".to_owned() };
        write(&journals, "all", &goals, &crate::peers::read(&crate::folder().join("peers.toml")).unwrap(), &places)
            .unwrap();

        let text = fs::read_to_string(&places.page).unwrap();
        for part in [
            "1 met, 0 missed",
            "| handshakes: nexios at most 1.2 of uwebsockets | 0.900 (0.900 – 0.900) | met |",
            "Revision abc",
            "| nexios | Rust | mio 1 |",
            "![handshakes](charts/handshakes.svg)",
            "- granian: it did not build (no wheel).",
            "- axum: handshakes (it ended).",
            "## Two nodes",
            "Revision def, up to 1 rounds",
            "| nexios-cluster (Rust) | 700 |",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(places.folder.join("handshakes.svg").exists());
        let runs = fs::read_to_string(places.folder.join("runs.json")).unwrap();
        let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
        assert_eq!(runs["runs"].as_array().unwrap().len(), 4);
        fs::remove_dir_all(folder).unwrap();
    }

    fn session() -> Session {
        Session {
            unix_time: 0,
            machine: crate::machine::describe(),
            revision: "abc".to_owned(),
            seconds: 1.0,
            warm_up: 0.3,
            versions: vec![("nexios".to_owned(), "mio 1".to_owned())],
            unbuilt: vec![("granian".to_owned(), "no wheel".to_owned())],
        }
    }

    fn run(peer: &str, outcome: Outcome) -> Run {
        let workload = "handshakes".parse().unwrap();
        Run { workload, peer: peer.to_owned(), language: "Rust".to_owned(), shards: 1, round: 1, outcome }
    }
}
