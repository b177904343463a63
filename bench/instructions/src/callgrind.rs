//! This program under callgrind, twice for each path: what both runs share is not the path.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::baseline::Baseline;
use crate::path::HotPath;

const FEW: u32 = 200;
const MANY: u32 = 1200;

/// Counts all paths.
pub(crate) fn count_all() -> Result<Baseline> {
    let valgrind = version("valgrind").context(
        "valgrind is missing; it counts the instructions: apt-get install valgrind, or dnf install valgrind",
    )?;
    let mut baseline =
        Baseline { valgrind, compiler: version("rustc")?, processor: processor(), ..Baseline::default() };
    for path in HotPath::value_variants() {
        eprintln!("counting {}", path.name());
        let instructions = (collected(*path, MANY)? - collected(*path, FEW)?) / f64::from(MANY - FEW);
        baseline.instructions.insert(path.name(), (10.0 * instructions).round() / 10.0);
    }
    Ok(baseline)
}

fn collected(path: HotPath, times: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(path.counted_in().map(|function| format!("--toggle-collect={function}")))
        .arg(std::env::current_exe()?)
        .args(["run", &path.name(), &times.to_string()])
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} failed under callgrind:\n{log}", path.name());
    }
    read_collected(&log).with_context(|| format!("callgrind says of {} no count:\n{log}", path.name()))
}

/// The line `==1234== Collected : 5678`.
fn read_collected(log: &str) -> Option<f64> {
    log.lines().find_map(|line| line.split_once("Collected : "))?.1.trim().parse().ok()
}

fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Libraries choose among their implementations by what the processor can do.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_log() {
        assert_eq!(read_collected("==1== Events    : Ir\n==1== Collected : 123456\n==1==\n"), Some(123_456.0));
        assert_eq!(read_collected("==1== nothing"), None);
    }
}
