//! The goals of `goals.toml`, and whether they are met.

use std::path::Path;

use anyhow::{Context, Result};
use load::Report;
use serde::Deserialize;

use crate::growth;
use crate::results::{Entry, Measured, Results};
use crate::statistics::Summary;
use crate::workload::{Growth, Workload};

/// All goals, in their order.
#[derive(Debug, Deserialize)]
pub(crate) struct Goals {
    /// Of one server in one workload.
    #[serde(default)]
    goal: Vec<Goal>,
    /// Of one server against every other of a language, in every workload.
    #[serde(default)]
    every: Vec<Every>,
    /// Of one server with more and more connections.
    #[serde(default)]
    growth: Vec<GrowthGoal>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Goal {
    workload: Workload,
    peer: String,
    /// The server to compare with, and the most that may come of it.
    to: Option<String>,
    max: Option<f64>,
    /// The most that the figure itself may be.
    max_figure: Option<f64>,
    /// The most that the 99th percentile of the latency may be, in milliseconds.
    max_p99_ms: Option<f64>,
    /// Every message reached every client once and in order.
    #[serde(default)]
    exact: bool,
    /// The most bytes of output, compared with zlib at level 6.
    max_output: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Every {
    peer: String,
    language: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrowthGoal {
    growth: Growth,
    peer: String,
    /// The figure at the largest count, compared with that at the smallest.
    max: f64,
}

/// How a goal stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    pub(crate) figures: String,
    pub(crate) standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Met,
    /// The median misses it, and a round meets it.
    MissedWithinSpread,
    Missed,
    NotMeasured,
}

impl Standing {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::MissedWithinSpread => "**missed** (some rounds meet it)",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Goals {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{}", file.display()))
    }

    pub(crate) fn verdicts(&self, results: &Results) -> Vec<Verdict> {
        let single = self.goal.iter().flat_map(|goal| goal.verdicts(results));
        let every = self.every.iter().map(|every| every.verdict(results));
        let growth = self.growth.iter().map(|goal| goal.verdict(results));
        single.chain(every).chain(growth).collect()
    }
}

impl Goal {
    /// One for each limit that the goal names.
    fn verdicts(&self, results: &Results) -> Vec<Verdict> {
        let measured = results.find(&self.workload);
        let (workload, peer) = (&self.workload, &self.peer);
        let mut verdicts = Vec::new();
        if let (Some(to), Some(max)) = (&self.to, self.max) {
            let ratio = measured.and_then(|measured| measured.ratio(measured.entry(peer)?, measured.entry(to)?));
            let goal = format!("{workload}: {peer} at most {max} of {to}");
            let mut verdict = at_most(goal, ratio, max, |figure| format!("{figure:.3}"));
            let saturated = |name: &String| {
                measured.and_then(|measured| measured.entry(name)).is_some_and(Entry::had_saturated_load)
            };
            if saturated(peer) || saturated(to) {
                verdict.figures.push_str("; load saturated");
            }
            verdicts.push(verdict);
        }
        if let Some(max) = self.max_figure {
            let summary = results.summary(workload, peer);
            let goal = format!("{workload}: {peer} at most {max} {}", workload.unit());
            verdicts.push(at_most(goal, summary, max, |figure| format!("{figure:.0}")));
        }
        if let Some(max) = self.max_p99_ms {
            let p99 = |report: &Report| Some(report.latency.as_ref()?.p99_us / 1e3);
            let goal = format!("{workload}: the latency of {peer} at most {max} ms at p99");
            let p99 = measured.and_then(|measured| every_round(measured, peer, p99));
            verdicts.push(at_most(goal, p99, max, |figure| format!("{figure:.1}")));
        }
        if self.exact {
            verdicts.push(exact(workload, peer, measured.and_then(|measured| measured.entry(peer))));
        }
        if let Some(max) = self.max_output {
            let ratio = |report: &Report| Some(report.output.as_ref()?.ratio());
            let output = measured.and_then(|measured| every_round(measured, peer, ratio));
            let goal = format!("{workload}: the output of {peer} at most {max} of zlib's at level 6");
            verdicts.push(at_most(goal, output, max, |figure| format!("{figure:.3}")));
        }
        verdicts
    }
}

impl Every {
    /// Cheaper in each workload that both have done. What costs the same is not cheaper.
    fn verdict(&self, results: &Results) -> Verdict {
        let mut compared = 0;
        let mut dearer = Vec::new();
        for measured in results.measured.iter().filter(|measured| measured.workload.has_table()) {
            let Some(ours) = measured.entry(&self.peer).filter(|entry| measured.summary(entry).is_some()) else {
                continue;
            };
            let others = measured.entries.iter().filter(|entry| entry.language == self.language);
            for other in others.filter(|entry| !entry.peer.starts_with("nexios")) {
                let Some(ratio) = measured.ratio(ours, other) else { continue };
                compared += 1;
                if ratio.median >= 1.0 {
                    dearer.push(format!("{} to {} {:.2}", measured.workload, other.peer, ratio.median));
                }
            }
        }
        let standing = match (compared, dearer.is_empty()) {
            (0, _) => Standing::NotMeasured,
            (_, true) => Standing::Met,
            (_, false) => Standing::Missed,
        };
        let goal = format!("{} cheaper than every other {} server in every workload", self.peer, self.language);
        let cheaper = compared - dearer.len();
        let details = if dearer.is_empty() { String::new() } else { format!("; not: {}", dearer.join(", ")) };
        Verdict { goal, figures: format!("cheaper in {cheaper} of {compared} comparisons{details}"), standing }
    }
}

impl GrowthGoal {
    fn verdict(&self, results: &Results) -> Verdict {
        let (growth, peer, max) = (self.growth, &self.peer, self.max);
        let goal = format!("{}: {peer} at most {max} from the smallest to the largest count", growth.name());
        let points = growth::points(results, growth, peer);
        let (Some((least, first)), Some((most, last))) =
            (points.first(), points.last().filter(|_| points.len() >= growth::POINTS_MIN))
        else {
            return Verdict { goal, figures: String::new(), standing: Standing::NotMeasured };
        };
        let ratio = last.median / first.median;
        let figures = format!("{ratio:.2} ({:.0} at {least}, {:.0} at {most})", first.median, last.median);
        Verdict { goal, figures, standing: if ratio <= max { Standing::Met } else { Standing::Missed } }
    }
}

/// Nothing lost, twice, or out of order in any round.
fn exact(workload: &Workload, peer: &str, entry: Option<&Entry>) -> Verdict {
    let all: Vec<_> =
        entry.into_iter().flat_map(|entry| entry.reports.values()).filter_map(|report| report.deliveries).collect();
    let sum = |count: fn(&load::Deliveries) -> u64| all.iter().map(count).sum::<u64>();
    let figures = format!(
        "{} lost, {} twice, {} out of order of {}",
        sum(|one| one.lost),
        sum(|one| one.duplicated),
        sum(|one| one.out_of_order),
        sum(|one| one.expected)
    );
    let goal = format!("{workload}: {peer} delivers each message once and in order");
    match (all.is_empty(), all.iter().all(load::Deliveries::is_exact)) {
        (true, _) => Verdict { goal, figures: String::new(), standing: Standing::NotMeasured },
        (false, true) => Verdict { goal, figures, standing: Standing::Met },
        (false, false) => Verdict { goal, figures, standing: Standing::Missed },
    }
}

/// What was seen in every round of one server.
fn every_round(measured: &Measured, peer: &str, pick: impl Fn(&Report) -> Option<f64>) -> Option<Summary> {
    let entry = measured.entry(peer)?;
    measured.summary(entry)?;
    Summary::of(entry.reports.values().filter_map(pick))
}

fn at_most(goal: String, found: Option<Summary>, max: f64, print: impl Fn(f64) -> String) -> Verdict {
    let standing = match found {
        None => Standing::NotMeasured,
        Some(found) if found.median <= max => Standing::Met,
        Some(found) if found.min <= max => Standing::MissedWithinSpread,
        Some(_) => Standing::Missed,
    };
    Verdict { goal, figures: figures(found, print), standing }
}

fn figures(found: Option<Summary>, print: impl Fn(f64) -> String) -> String {
    found.map_or_else(String::new, |Summary { median, min, max }| {
        format!("{} ({} – {})", print(median), print(min), print(max))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{entry, measured};

    fn standings(goals: &str, measured: Vec<Measured>) -> Vec<Standing> {
        let goals: Goals = toml::from_str(goals).unwrap();
        let results = Results { sessions: Vec::new(), measured };
        goals.verdicts(&results).into_iter().map(|verdict| verdict.standing).collect()
    }

    fn to(max: f64) -> String {
        format!("[[goal]]\nworkload = \"handshakes\"\npeer = \"nexios\"\nto = \"uwebsockets\"\nmax = {max}")
    }

    fn handshakes() -> Vec<Measured> {
        let entries = vec![entry("uwebsockets", "C++", &[100, 100, 100]), entry("nexios", "Rust", &[80, 90, 95])];
        vec![measured("handshakes", entries)]
    }

    #[test]
    fn a_goal_is_met_missed_or_missed_within_the_spread() {
        assert_eq!(standings(&to(0.9), handshakes()), [Standing::Met]);
        assert_eq!(standings(&to(0.85), handshakes()), [Standing::MissedWithinSpread]);
        assert_eq!(standings(&to(0.7), handshakes()), [Standing::Missed]);
        assert_eq!(standings(&to(0.9), Vec::new()), [Standing::NotMeasured]);
    }

    #[test]
    fn a_saturated_load_stands_beside_the_verdict() {
        let mut measured = handshakes();
        for report in measured[0].entries[1].reports.values_mut() {
            report.load_cpu_ns = 1_000_000_000;
        }
        let goals: Goals = toml::from_str(&to(0.9)).unwrap();
        let verdicts = goals.verdicts(&Results { sessions: Vec::new(), measured });
        assert!(verdicts[0].figures.ends_with("; load saturated"), "{}", verdicts[0].figures);
    }

    #[test]
    fn a_figure_has_a_limit_of_its_own() {
        let goal = "[[goal]]\nworkload = \"handshakes\"\npeer = \"nexios\"\nmax_figure = 90\n\
                    [[goal]]\nworkload = \"handshakes\"\npeer = \"nexios\"\nmax_figure = 79";
        assert_eq!(standings(goal, handshakes()), [Standing::Met, Standing::Missed]);
    }

    #[test]
    fn one_message_too_few_in_one_round_misses_exactness() {
        let goal = "[[goal]]\nworkload = \"cluster-50\"\npeer = \"nexios-cluster\"\nexact = true\nmax_p99_ms = 12";
        let with = |lost: u64| {
            let mut entry = entry("nexios-cluster", "Rust", &[100, 100]);
            for (report, lost) in entry.reports.values_mut().zip([0, lost]) {
                report.deliveries = Some(load::Deliveries { expected: 10, lost, ..Default::default() });
                report.latency = Some(load::Latency { p50_us: 1.0, p99_us: 11_000.0, p999_us: 99_000.0 });
            }
            vec![measured("cluster-50", vec![entry])]
        };
        assert_eq!(standings(goal, with(0)), [Standing::Met, Standing::Met]);
        assert_eq!(standings(goal, with(1)), [Standing::Met, Standing::Missed]);
        assert_eq!(standings(goal, Vec::new()), [Standing::NotMeasured, Standing::NotMeasured]);
    }

    #[test]
    fn every_other_server_of_the_language_counts_but_our_own() {
        let goal = "[[every]]\npeer = \"nexios\"\nlanguage = \"Rust\"";
        let with = |other: u64| {
            let entries = vec![
                entry("nexios", "Rust", &[100]),
                entry("nexios-drop-head", "Rust", &[50]),
                entry("uwebsockets", "C++", &[50]),
                entry("axum", "Rust", &[other]),
            ];
            vec![measured("handshakes", entries)]
        };
        assert_eq!(standings(goal, with(120)), [Standing::Met]);
        assert_eq!(standings(goal, with(100)), [Standing::Missed]);
        assert_eq!(standings(goal, Vec::new()), [Standing::NotMeasured]);
    }

    #[test]
    fn growth_compares_the_largest_with_the_smallest() {
        let goal = |max: f64| format!("[[growth]]\ngrowth = \"echo\"\npeer = \"nexios\"\nmax = {max}");
        let points = || {
            let point = |name: &str, ns: u64| measured(name, vec![entry("nexios", "Rust", &[ns])]);
            vec![point("echo-20x1000", 110), point("echo-20x10", 100), point("echo-20x10000", 120)]
        };
        assert_eq!(standings(&goal(1.25), points()), [Standing::Met]);
        assert_eq!(standings(&goal(1.15), points()), [Standing::Missed]);
        assert_eq!(standings(&goal(1.15), points().into_iter().take(2).collect()), [Standing::NotMeasured]);
    }

    #[test]
    fn the_goals_of_this_folder_can_be_read() {
        assert!(!Goals::read(&crate::folder().join("goals.toml")).unwrap().goal.is_empty());
    }
}
