//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, as the kernel describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    /// Others who wanted a core in the minute before.
    pub(crate) load_average: f64,
}

impl Machine {
    /// Whether figures of both can be compared.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.processor, self.cores, &self.kernel) == (&other.processor, other.cores, &other.kernel)
    }
}

pub(crate) fn describe() -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    Machine {
        processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
        cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        memory_mib: number_after(&read("/proc/meminfo"), "MemTotal:") / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        compiler: output_of("rustc", &["--version"], Path::new(".")),
        load_average: read("/proc/loadavg").split_whitespace().next().map_or(0.0, |first| first.parse().unwrap_or(0.0)),
    }
}

/// The commit of the repository around this folder, with a mark if files were changed.
pub(crate) fn revision(folder: &Path) -> String {
    let changed = output_of("git", &["status", "--porcelain", "--untracked-files=no"], folder);
    let mark = if changed.is_empty() { "" } else { " with changes" };
    format!("{}{mark}", output_of("git", &["rev-parse", "--short=12", "HEAD"], folder))
}

fn output_of(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn number_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
