//! Several nodes, their clients and publishers, a broker that fails in all ways, and virtual time.
//!
//! All of a node is real but its clock and the broker: apps with their shards, connections in memory
//! that speak `nexios.v1`, the node's own work. What was published and seen is written down, and
//! `chaos/checker` says whether all promises were kept. The node's work runs on the thread of its
//! shard here: the way through a shard's mailbox is not simulated.
//!
//! Broken by hand it is found, among others, that
//! - an envelope or an entry that was there before is passed on;
//! - a hole in a room's log is not seen, or not read again when a session is restored;
//! - an append that may be stored is not said `again`, or is called refused;
//! - a client is let in behind a position that the node does not have any more;
//! - a client that cannot be sent all at once is told twice where it begins;
//! - members are not told of a reset, or another epoch is taken for the same;
//! - a position is taken for known that is not kept any more;
//! - holes are not counted, silence is not marked, or what is not taken has no number;
//! - a publish of a client that is repeated is stored twice, is forbidden before the handler has joined, or is called not
//!   stored though it is;
//! - a node, or a client that follows a room's presence, does not know its users at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;
mod faulty;
mod plan;
mod publisher;
mod seeds;
mod speech;
mod world;

use tokio::task::LocalSet;
use world::{World, is_in};

use seeds::seeds;

fn record(seed: u64) -> checker::Record {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, World::run(seed))
}

#[test]
fn whatever_fails_all_promises_of_delivery_are_kept() {
    seeds(|seed| {
        let record = record(seed);
        let report = checker::check(&record);
        assert!(report.violations.is_empty(), "{report}");
        let away = record.clients.iter().find(|client| client.has_history && !is_in(client));
        assert!(away.is_none(), "{} has not come back", away.map_or("", |client| &client.name));
        if std::env::var_os("NEXIOS_SEED").is_some() {
            eprintln!("{report}");
        }
    });
}
