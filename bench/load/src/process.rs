//! What the kernel knows about a process: its CPU time and its memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A server under test, with all its threads and child processes.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The process that asks.
    pub fn current() -> Self {
        Self::new(std::process::id())
    }

    /// Its id.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// Nanoseconds that all threads of the process tree have spent on a core.
    ///
    /// `schedstat` counts in nanoseconds, where `stat` counts in ticks of 10 ms.
    pub fn cpu_ns(self) -> Result<u64> {
        self.sum(|pid| {
            let mut total = 0;
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                total += thread_cpu_ns(&task?.path())?;
            }
            Ok(total)
        })
    }

    /// Resident bytes of the process tree, and those that were swapped out.
    ///
    /// From `smaps_rollup`, which walks the pages: the counters in `status` lag by
    /// up to 64 pages for each core, which is 100 bytes for each of 5,000 connections.
    pub fn resident_bytes(self) -> Result<u64> {
        self.sum(|pid| {
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            Ok(kibibytes(&smaps, "Rss:")? * 1024 + kibibytes(&smaps, "Swap:")? * 1024)
        })
    }

    fn sum(self, measure: impl Fn(u32) -> Result<u64>) -> Result<u64> {
        let mut total = 0;
        let mut processes = vec![self.pid];
        while let Some(pid) = processes.pop() {
            total += measure(pid).with_context(|| format!("the server's process {pid} is gone"))?;
            processes.extend(children(pid));
        }
        Ok(total)
    }
}

/// Nanoseconds that all cores were busy or stolen by other guests since the start, in ticks
/// of 10 ms; none where the kernel hides it.
pub(crate) fn machine_cpu_ns() -> Option<u64> {
    busy_ns(&fs::read_to_string("/proc/stat").ok()?)
}

/// user nice system idle iowait irq softirq steal, in hundredths of a second (proc(5)).
fn busy_ns(stat: &str) -> Option<u64> {
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let busy = fields.get(..3)?.iter().chain(fields.get(5..8)?).sum::<u64>();
    Some(busy * 10_000_000)
}

/// The first field of `schedstat`; a thread that ended in between counts nothing.
fn thread_cpu_ns(task: &Path) -> Result<u64> {
    let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else { return Ok(0) };
    let first = schedstat.split_whitespace().next().context("schedstat is empty")?;
    Ok(first.parse()?)
}

/// One line of `smaps_rollup`.
fn kibibytes(smaps: &str, name: &str) -> Result<u64> {
    let line = smaps.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("smaps_rollup has no {name}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_cpu_time() {
        let before = Process::current().cpu_ns().unwrap();
        let started = std::time::Instant::now();
        // On a busy machine the work may have to wait for a core.
        while Process::current().cpu_ns().unwrap() < before + 10_000_000 {
            assert!(started.elapsed().as_secs() < 30, "no CPU time is booked");
        }
    }

    #[test]
    fn waiting_cores_are_not_busy() {
        assert_eq!(busy_ns("cpu  1 2 3 400 500 6 7 8 9 10\ncpu0 1"), Some(270_000_000));
        assert_eq!(busy_ns("cpu  1 2"), None);
    }

    #[test]
    fn a_running_process_is_resident() {
        assert!(Process::current().resident_bytes().unwrap() > 0);
    }
}
