//! Plays the scenarios of `clients/contract`, whose README says what they mean, in virtual time.
//!
//! `CONTRACT=words cargo test -p nexios-client --test contract` plays those whose names contain the words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod calls;
mod network;
mod pattern;
mod player;
mod reports;
mod scenario;
mod settings;

use std::collections::HashSet;

use player::Player;
use scenario::{Scenario, pending, scenarios};

fn play(scenario: &Scenario) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { Player::start(scenario)?.play(&scenario.steps).await })
}

/// Plays one scenario; returns what is wrong.
fn verdict(scenario: &Scenario, pending: &HashSet<String>) -> Option<String> {
    let is_pending = pending.contains(&scenario.name);
    let told = |what: &str| Some(format!("{:?} ({}): {what}", scenario.name, scenario.file));
    match play(scenario) {
        Ok(()) if is_pending => told("passes, and is pending: take it out of pending.json"),
        Err(problem) if !is_pending => told(&problem),
        _ => None,
    }
}

#[test]
fn the_client_passes_all_scenarios() {
    let (all, pending) = (scenarios(), pending());
    let names: HashSet<_> = all.iter().map(|scenario| &scenario.name).collect();
    assert_eq!(names.len(), all.len(), "each name is unique");
    let unknown: Vec<_> = pending.iter().filter(|name| !names.contains(name)).collect();
    assert!(unknown.is_empty(), "pending, and not there: {unknown:?}");
    let words = std::env::var("CONTRACT").unwrap_or_default();
    let mine = all.iter().filter(|scenario| scenario.is_for_rust && scenario.name.contains(&words));
    let problems: Vec<_> = mine.filter_map(|scenario| verdict(scenario, &pending)).collect();
    assert!(problems.is_empty(), "{} of {} scenarios:\n{}", problems.len(), all.len(), problems.join("\n"));
}
