//! What a message, a delivery and a connection cost with more and more connections.

use crate::results::Results;
use crate::statistics::Summary;
use crate::workload::Growth;

/// Fewer counts say nothing about growth.
pub(crate) const POINTS_MIN: usize = 3;

/// One server's figures, by count.
pub(crate) fn points(results: &Results, growth: Growth, peer: &str) -> Vec<(usize, Summary)> {
    let of_peer = results.measured.iter().filter_map(|measured| {
        let (kind, count) = measured.workload.growth()?;
        let summary = measured.summary(measured.entry(peer)?)?;
        (kind == growth).then_some((count, summary))
    });
    let mut points: Vec<_> = of_peer.collect();
    points.sort_by_key(|(count, _)| *count);
    points
}

/// The servers that were measured at enough counts, with their figures.
pub(crate) fn lines(results: &Results, growth: Growth) -> Vec<(String, Vec<(usize, Summary)>)> {
    let mut peers: Vec<&str> = Vec::new();
    for entry in results.measured.iter().flat_map(|measured| &measured.entries) {
        if entry.shards == 1 && !peers.contains(&entry.peer.as_str()) {
            peers.push(&entry.peer);
        }
    }
    let lines = peers.into_iter().map(|peer| (peer.to_owned(), points(results, growth, peer)));
    lines.filter(|(_, points)| points.len() >= POINTS_MIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{entry, measured};

    #[test]
    fn points_are_in_the_order_of_their_counts() {
        let point = |name: &str, ns| measured(name, vec![entry("nexios", "Rust", &[ns]), entry("axum", "Rust", &[ns])]);
        let mut measured = vec![point("broadcast-1000", 3), point("broadcast-10", 1), point("broadcast-100", 2)];
        measured[0].entries.pop();
        let results = Results { sessions: Vec::new(), measured };
        let lines = lines(&results, Growth::Broadcast);
        assert_eq!(lines.len(), 1, "axum has two points only");
        let medians: Vec<_> = lines[0].1.iter().map(|(count, summary)| (*count, summary.median)).collect();
        assert_eq!(medians, [(10, 1.0), (100, 2.0), (1000, 3.0)]);
    }
}
