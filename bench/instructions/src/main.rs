//! `instructions`: how many instructions the hot paths take, counted under callgrind.
//!
//! Times wobble with the machine, instructions do not: a change that makes a path longer shows
//! on a laptop that compiles something else meanwhile. Fewer instructions are no proof of speed.

mod baseline;
mod callgrind;
mod path;
mod protocol;
mod turns;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use crate::baseline::Baseline;
use crate::path::HotPath;

/// A path may take so much more than its baseline.
const TOLERANCE: f64 = 0.02;

/// Counts the instructions of the hot paths.
#[derive(Parser)]
enum Command {
    /// Compares with baseline.toml; fails where a path takes more than 2 % longer.
    Check,
    /// Writes baseline.toml anew.
    Renew,
    /// Goes a path so many times: what callgrind looks at.
    Run { path: HotPath, times: u32 },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Check => check(),
        Command::Renew => renew(),
        Command::Run { path, times } => path.run(times),
    }
}

fn check() -> Result<()> {
    let baseline = Baseline::read(&file())?;
    let found = callgrind::count_all()?;
    let changes = baseline.compare(&found);
    changes.iter().for_each(|change| println!("{change}"));
    let longer: Vec<&str> =
        changes.iter().filter(|change| change.ratio() > 1.0 + TOLERANCE).map(|change| change.path.as_str()).collect();
    if longer.is_empty() {
        println!("No path takes over {:.0} % more instructions than its baseline.", 100.0 * TOLERANCE);
        return Ok(());
    }
    baseline.conditions_that_differ(&found).iter().for_each(|difference| eprintln!("NOTE: {difference}"));
    bail!(
        "over {:.0} % more instructions than the baseline: {}.\nIf the change is worth it, renew the baseline and say \
         why in the commit: make bench-instructions-renew",
        100.0 * TOLERANCE,
        longer.join(", ")
    )
}

fn renew() -> Result<()> {
    let found = callgrind::count_all()?;
    found.write(&file())?;
    println!("{}", found.to_text()?);
    Ok(())
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baseline.toml")
}
