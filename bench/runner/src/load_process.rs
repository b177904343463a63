//! The load generator as a process of its own, so that it has a core of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use load::Report;

use crate::cores::spawn_on;

/// Builds the load generator, unless it is to be taken as it is, and returns its program.
pub(crate) fn build(folder: &Path, as_it_is: bool) -> Result<PathBuf> {
    if !as_it_is {
        eprintln!("building load");
        let status = Command::new("cargo").args(["build", "--release", "-p", "load"]).current_dir(folder).status()?;
        ensure!(status.success(), "the load generator does not build");
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Ok(folder.join(target).join("release/load"))
}

/// Runs the load on its cores until it reports.
pub(crate) fn run(program: &Path, cores: &[usize], arguments: &[String]) -> Result<Report> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = spawn_on(cores, &mut command)?.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().replace("\n\nCaused by:\n   ", ":"));
    }
    serde_json::from_slice(&output.stdout).context("the load's report cannot be read")
}
