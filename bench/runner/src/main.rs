//! `runner`: every chosen workload against every chosen server, round by round.

mod comparison;
mod cores;
mod load_process;
mod machine;
mod peers;
mod rounds;
mod server;
mod statistics;
mod table;
mod workload;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::comparison::Comparison;
use crate::cores::Cores;
use crate::peers::Peer;
use crate::rounds::Plan;
use crate::workload::Workload;

/// The server that all others are compared with, if it is among the chosen.
const REFERENCE: &str = "nexios";

/// Compares WebSocket servers by the CPU time that the kernel books on each.
#[derive(Parser)]
struct Options {
    /// Runs of each workload and server; they take turns (A B C A B C …).
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured window.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of load before each window.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// What to run: echo-SIZE, pipeline-COUNT, broadcast-CLIENTS, publish-CLIENTS, burst-COUNT,
    /// idle[-CLIENTS], idle-broadcast[-CLIENTS], handshakes. SIZE may end in k.
    #[arg(long, value_delimiter = ',', default_value = "echo-20,echo-1k,pipeline-16,broadcast-1000,idle,handshakes")]
    workloads: Vec<Workload>,
    /// Which servers of peers.toml; all of them without this.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Instead of all this: so many idle connections on one nexios, and one broadcast that
    /// has to reach each exactly once.
    #[arg(long, value_name = "CLIENTS", conflicts_with_all = ["workloads", "peers", "rounds"])]
    idle: Option<usize>,
    /// The core of the server; the first that is allowed without this.
    #[arg(long)]
    server_core: Option<usize>,
    /// The core of the load; the second that is allowed without this.
    #[arg(long)]
    load_core: Option<usize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "at least one round");
    load::raise_descriptor_limit()?;
    let all = peers::read(&folder().join("peers.toml"))?;
    match options.idle {
        Some(connections) => hold_idle(&options, all, connections),
        None => compare(&options, all),
    }
}

fn compare(options: &Options, all: Vec<Peer>) -> Result<()> {
    let chosen = peers::choose(all, &options.peers)?;
    let plan = plan(options, options.rounds)?;
    let comparison = run(&plan, &options.workloads, chosen)?;
    table::print(&comparison);
    let file = comparison.write(&folder().join("results"), "latest.json")?;
    println!("\nEvery run: {}", relative(&file).display());
    Ok(())
}

fn hold_idle(options: &Options, all: Vec<Peer>, connections: usize) -> Result<()> {
    let chosen = peers::choose(all, &[REFERENCE.to_owned()])?;
    let plan = plan(options, 1)?;
    let comparison = run(&plan, &[Workload::IdleBroadcast { connections }], chosen)?;
    let entry = comparison.measured.iter().flat_map(|measured| &measured.entries).next().context("nothing ran")?;
    let report = entry.reports.first().with_context(|| entry.failure.clone().unwrap_or_default())?;
    table::print_idle(report);
    let file = comparison.write(&folder().join("results"), "idle.json")?;
    println!("All of it: {}", relative(&file).display());
    Ok(())
}

fn plan(options: &Options, rounds: usize) -> Result<Plan> {
    let cores = Cores::choose(options.server_core, options.load_core)?;
    let load_program = load_process::build(&folder())?;
    Ok(Plan { folder: folder(), load_program, cores, rounds, seconds: options.seconds, warm_up: options.warm_up })
}

fn run(plan: &Plan, workloads: &[Workload], chosen: Vec<Peer>) -> Result<Comparison> {
    let reference = chosen.iter().find(|peer| peer.name == REFERENCE).or(chosen.first()).context("no peers")?;
    let reference = reference.name.clone();
    let built = peers::build_all(&folder(), chosen);
    Ok(Comparison { machine: machine::describe(), reference, measured: plan.run(workloads, &built)? })
}

/// The folder of this workspace.
fn folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn relative(file: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).to_owned()
}
