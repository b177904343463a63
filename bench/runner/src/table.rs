//! The tables for people, in Markdown.

use std::fmt::Write as _;

use load::Report;

use crate::goals::Verdict;
use crate::growth;
use crate::results::{Entry, Measured, Results};
use crate::statistics::Summary;
use crate::workload::{Growth, Workload};

/// What the Python servers are compared with, beside the reference of all.
const PYTHON_REFERENCES: [&str; 2] = ["nexios-python", "nexios-python-cluster"];

/// One workload: a line for each server, the cheapest first.
pub(crate) fn of_workload(measured: &Measured) -> String {
    let reference = measured.reference();
    let mut python = PYTHON_REFERENCES.iter().filter_map(|name| measured.entry(name));
    let python = python.find(|entry| measured.summary(entry).is_some());
    // Once is enough.
    let python = python.filter(|python| reference.is_some_and(|reference| reference.peer != python.peer));
    let named = |entry: Option<&Entry>| entry.map_or_else(|| "–".to_owned(), |entry| entry.peer.clone());
    let mut text = format!("| server | {} | min – max | to {} |", measured.workload.unit(), named(reference));
    if let Some(python) = python {
        let _ = write!(text, " Python: to {} |", python.peer);
    }
    text.push_str(" also |\n|---|---:|---:|---:|");
    text.push_str(if python.is_some() { "---:|---|\n" } else { "---|\n" });
    for entry in by_figure(measured) {
        let _ = writeln!(text, "{}", row(measured, entry, reference, python));
    }
    text
}

/// The servers on one core, the cheapest first, those without a figure last.
pub(crate) fn by_figure(measured: &Measured) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = measured.entries.iter().filter(|entry| entry.shards == 1).collect();
    let figure = |entry: &Entry| measured.summary(entry).map_or(f64::INFINITY, |summary| summary.median);
    entries.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    entries
}

fn row(measured: &Measured, entry: &Entry, reference: Option<&Entry>, python: Option<&Entry>) -> String {
    let name = format!("| {} ({})", entry.peer, entry.language);
    let columns_between = if python.is_some() { "– | – |" } else { "– |" };
    let Some(summary) = measured.summary(entry) else {
        return format!("{name} | – | – | {columns_between} {} |", entry.reason());
    };
    let ratio_to = |reference: Option<&Entry>| {
        reference.and_then(|reference| measured.ratio(entry, reference)).map_or_else(|| "–".to_owned(), spread)
    };
    let mut row = format!(
        "{name} | {} | {} – {} | {} |",
        number(summary.median),
        number(summary.min),
        number(summary.max),
        ratio_to(reference)
    );
    if python.is_some() {
        let ratio = if entry.language == "Python" { ratio_to(python) } else { "–".to_owned() };
        let _ = write!(row, " {ratio} |");
    }
    format!("{row} {} |", also(&measured.workload, entry))
}

fn spread(ratio: Summary) -> String {
    format!("{:.2} ({:.2} – {:.2})", ratio.median, ratio.min, ratio.max)
}

/// Few digits, so that nobody takes noise for precision.
pub(crate) fn number(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

/// Medians of what else was seen.
fn also(workload: &Workload, entry: &Entry) -> String {
    let mut parts = Vec::new();
    if let Some(opened) = entry.median(|report| Some(report.memory.as_ref()?.bytes_per_opened())) {
        parts.push(format!("{opened:.0} before the first message"));
    }
    if workload.is_timed() {
        parts.extend(entry.median(|report| Some(report.units_per_second())).map(|rate| format!("{rate:.0}/s")));
    }
    parts.extend(deliveries(entry));
    if workload.is_timed() {
        let broker = entry.median(|report| Some(report.broker_cpu_ns? as f64 / report.units.max(1) as f64));
        parts.extend(broker.map(|ns| format!("Redis {} ns", number(ns))));
    }
    if let Some(recovery) = entry.median(|report| report.recoveries_ms.iter().copied().max_by(f64::total_cmp)) {
        parts.push(format!("all back after {recovery:.0} ms"));
    }
    if let Some(output) = entry.median(|report| Some(report.output.as_ref()?.bytes_per_message)) {
        let ratio = entry.median(|report| Some(report.output.as_ref()?.ratio())).unwrap_or(0.0);
        parts.push(format!("{output:.0} B on the wire, {ratio:.2} of zlib-6"));
    }
    parts.extend(latency(entry));
    let saturated = entry.reports.values().filter(|report| report.load_saturated()).count();
    if saturated > 0 {
        parts.push(format!("**LOAD SATURATED** in {saturated} of {} rounds", entry.reports.len()));
    }
    parts.join(", ")
}

fn latency(entry: &Entry) -> Option<String> {
    let at = |pick: fn(&load::Latency) -> f64| {
        entry.median(move |report: &Report| report.latency.as_ref().map(pick)).map(number)
    };
    let (p50, p99, p999) =
        (at(|latency| latency.p50_us)?, at(|latency| latency.p99_us)?, at(|latency| latency.p999_us)?);
    Some(if p50 == p999 { format!("all within {p50} µs") } else { format!("p50/p99/p99.9 {p50}/{p99}/{p999} µs") })
}

/// What went wrong with messages to a room, over all rounds, in parts of those expected.
fn deliveries(entry: &Entry) -> Option<String> {
    let all: Vec<_> = entry.reports.values().filter_map(|report| report.deliveries).collect();
    let expected: u64 = all.iter().map(|one| one.expected).sum();
    let share = |wrong: fn(&load::Deliveries) -> u64, what: &str| {
        let count: u64 = all.iter().map(wrong).sum();
        (count > 0).then(|| format!("**{:.2} % {what}**", 100.0 * count as f64 / expected.max(1) as f64))
    };
    let wrong: Vec<String> = [
        share(|one| one.lost, "not delivered"),
        share(|one| one.duplicated, "twice"),
        share(|one| one.out_of_order, "out of order"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let text = if wrong.is_empty() { "all once and in order".to_owned() } else { wrong.join(", ") };
    (expected > 0).then_some(text)
}

/// The goals, one a line.
pub(crate) fn of_goals(verdicts: &[Verdict]) -> String {
    let mut text = "| goal | measured, median (min – max) | |\n|---|---|---|\n".to_owned();
    for Verdict { goal, figures, standing } in verdicts {
        let _ = writeln!(text, "| {goal} | {figures} | {} |", standing.words());
    }
    text
}

/// One server a line, one count a column.
pub(crate) fn of_growth(results: &Results, growth: Growth) -> Option<String> {
    let lines = growth::lines(results, growth);
    let mut counts: Vec<usize> = lines.iter().flat_map(|(_, points)| points.iter().map(|(count, _)| *count)).collect();
    counts.sort_unstable();
    counts.dedup();
    if lines.is_empty() {
        return None;
    }
    let head: String = counts.iter().map(|count| format!(" {count} |")).collect();
    let mut text = format!("| server |{head}");
    let _ = write!(text, " largest to smallest |\n|---|{}---:|\n", "---:|".repeat(counts.len()));
    for (peer, points) in lines {
        let _ = write!(text, "| {peer} |");
        for count in &counts {
            let point = points.iter().find(|(at, _)| at == count);
            let _ = write!(text, " {} |", point.map_or_else(|| "–".to_owned(), |(_, summary)| number(summary.median)));
        }
        let ratio = points.last().zip(points.first()).map_or(0.0, |((_, last), (_, first))| last.median / first.median);
        let _ = writeln!(text, " {ratio:.2} |");
    }
    Some(text)
}

/// Servers with more than one thread beside the same ones with one.
pub(crate) fn of_shards(results: &Results) -> Option<String> {
    let mut text = String::new();
    for measured in &results.measured {
        for entry in measured.entries.iter().filter(|entry| entry.shards > 1) {
            let one = measured.entries.iter().find(|one| one.shards == 1 && entry.peer.starts_with(one.peer.as_str()));
            for entry in one.into_iter().chain([entry]) {
                let rate = entry.median(|report| Some(report.units_per_second())).map_or_else(String::new, number);
                let Some(figure) = measured.summary(entry).map(|summary| number(summary.median)) else { continue };
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {figure} {} | {rate} |",
                    measured.workload,
                    entry.peer,
                    entry.shards,
                    measured.workload.unit()
                );
            }
        }
    }
    let head = "| workload | server | threads | cost | in a second |\n|---|---|---:|---:|---:|\n";
    (!text.is_empty()).then(|| format!("{head}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{entry, measured};

    #[test]
    fn the_cheapest_comes_first_and_ratios_are_to_the_reference() {
        let entries = vec![
            entry("uvicorn", "Python", &[9000, 9000]),
            entry("nexios-python", "Python", &[1500, 1500]),
            entry("uwebsockets", "C++", &[1000, 1000]),
            entry("nexios", "Rust", &[900, 950]),
        ];
        let text = of_workload(&measured("echo-20", entries));
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[0].contains("to uwebsockets") && rows[0].contains("to nexios-python"));
        assert!(rows[2].starts_with("| nexios (Rust) | 925 | 900 – 950 | 0.93 (0.90 – 0.95) | – |"), "{}", rows[2]);
        assert!(rows[5].starts_with("| uvicorn (Python) | 9000 |") && rows[5].contains("| 6.00 ("), "{}", rows[5]);
        let columns = |row: &str| row.matches('|').count();
        assert!(rows.iter().all(|row| columns(row) == columns(rows[0])));
    }

    #[test]
    fn one_reference_is_one_column() {
        let entries = vec![entry("nexios-python", "Python", &[100]), entry("uvicorn", "Python", &[200])];
        let text = of_workload(&measured("http", entries));
        assert_eq!(text.matches("nexios-python |").count(), 1, "{text}");
    }

    #[test]
    fn a_server_without_a_figure_comes_last_with_the_reason() {
        let silent = entry("axum", "Rust", &[]);
        let text = of_workload(&measured("echo-20", vec![silent, entry("nexios", "Rust", &[900])]));
        assert!(text.lines().last().unwrap().contains("| axum (Rust) | – | – | – | no rounds |"), "{text}");
    }

    #[test]
    fn what_happened_to_deliveries_stands_in_the_row() {
        let exact = load::Deliveries { expected: 1000, ..Default::default() };
        let mut entries = vec![entry("nexios-cluster", "Rust", &[100]), entry("socketioxide", "Rust", &[200])];
        for (entry, out_of_order) in entries.iter_mut().zip([0, 250]) {
            let deliveries = load::Deliveries { out_of_order, lost: out_of_order / 10, ..exact };
            entry.reports.values_mut().for_each(|report| report.deliveries = Some(deliveries));
        }
        let text = of_workload(&measured("cluster-50", entries));
        assert!(text.contains("to nexios-cluster"), "{text}");
        assert!(text.contains("all once and in order"), "{text}");
        assert!(text.contains("**2.50 % not delivered**, **25.00 % out of order**"), "{text}");
    }

    #[test]
    fn a_saturated_load_is_marked() {
        let mut slow = entry("nexios", "Rust", &[500_000_000]);
        slow.reports.values_mut().for_each(|report| report.load_cpu_ns = 999_000_000);
        assert!(of_workload(&measured("echo-20", vec![slow])).contains("**LOAD SATURATED** in 1 of 1 rounds"));
    }
}
