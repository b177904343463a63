//! The table for people, in Markdown.

use load::Report;

use crate::comparison::{Comparison, Entry, Measured};
use crate::statistics::Summary;

/// Above this, something else was running.
const LOAD_AVERAGE_QUIET: f64 = 0.5;

pub(crate) fn print(comparison: &Comparison) {
    let machine = &comparison.machine;
    println!("{}, {} cores, Linux {}", machine.processor, machine.cores, machine.kernel);
    if machine.load_average > LOAD_AVERAGE_QUIET {
        println!("NOTE: the machine was not quiet before (load average {:.2}).", machine.load_average);
    }
    println!("Less is better. The ratio is to {}, round by round.\n", comparison.reference);
    println!("| workload | server | median | min – max | ratio (min – max) | also |");
    println!("|---|---|---:|---:|---:|---|");
    for measured in &comparison.measured {
        for entry in &measured.entries {
            println!("{}", row(measured, entry, &comparison.reference));
        }
    }
    println!();
    for measured in &comparison.measured {
        println!("- {}: {}", measured.workload, measured.workload.description());
    }
}

/// The one run with very many connections.
pub(crate) fn print_idle(report: &Report) {
    let Some(memory) = &report.memory else { return };
    println!("{} connections on one process.", memory.connections);
    println!(
        "Bytes for each, of the server's Rss: {:.0} when opened, {:.0} after the broadcast.",
        memory.bytes_per_opened(),
        memory.bytes_per_used()
    );
    let milliseconds = report.latency.as_ref().map_or(0.0, |latency| latency.p99_us / 1e3);
    println!("One broadcast reached each exactly once, the last after {milliseconds:.1} ms.");
    println!("{:.0} ns of the server's CPU time for each delivery.", report.cpu_ns_per_unit());
}

fn row(measured: &Measured, entry: &Entry, reference: &str) -> String {
    let name = format!("| {} | {} ", measured.workload, entry.peer);
    match (&entry.failure, measured.summary(entry)) {
        (None, Some(summary)) => {
            let Summary { median, min, max } = summary;
            let ratio = measured.ratio(entry, reference).map_or_else(
                || "–".to_owned(),
                |ratio| format!("{:.2} ({:.2} – {:.2})", ratio.median, ratio.min, ratio.max),
            );
            let unit = measured.workload.unit();
            let also = also(measured, &entry.reports);
            format!("{name}| {median:.0} {unit} | {min:.0} – {max:.0} | {ratio} | {also} |")
        }
        (failure, _) => {
            let reason = failure.as_deref().unwrap_or("no rounds").replace('|', "/").replace('\n', " ");
            format!("{name}| – | – | – | {reason} (after {} good rounds) |", entry.reports.len())
        }
    }
}

/// Medians of what else was seen.
fn also(measured: &Measured, reports: &[Report]) -> String {
    let mut parts = Vec::new();
    if let Some(opened) = median(reports, |report| Some(report.memory.as_ref()?.bytes_per_opened())) {
        parts.push(format!("{opened:.0} before the first message"));
    }
    if measured.workload.is_timed() {
        parts.extend(median(reports, |report| Some(report.units_per_second())).map(|rate| format!("{rate:.0}/s")));
        let busy = |share: fn(&Report) -> f64| median(reports, |report| Some(100.0 * share(report))).unwrap_or(0.0);
        parts.push(format!(
            "cores: server {:.0} %, load {:.0} %",
            busy(Report::server_share),
            busy(Report::load_share)
        ));
    }
    let p50 = median(reports, |report| Some(report.latency.as_ref()?.p50_us));
    let p99 = median(reports, |report| Some(report.latency.as_ref()?.p99_us));
    match (p50, p99) {
        (Some(p50), Some(p99)) if p50 == p99 => parts.push(format!("all within {p50:.0} µs")),
        (Some(p50), Some(p99)) => parts.push(format!("p50 {p50:.0} µs, p99 {p99:.0} µs")),
        _ => {}
    }
    if reports.iter().any(Report::load_saturated) {
        parts.push("LOAD SATURATED: rate and latency are the load's".to_owned());
    }
    parts.join(", ")
}

fn median(reports: &[Report], pick: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
    Summary::of(reports.iter().filter_map(pick)).map(|summary| summary.median)
}
