//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// The machine, as the kernel describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Others who wanted a core in the minute before: above 0.5, figures wobble.
    pub(crate) load_average: f64,
}

pub(crate) fn describe() -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    Machine {
        processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
        cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load_average: read("/proc/loadavg")
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok())
            .unwrap_or(0.0),
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
