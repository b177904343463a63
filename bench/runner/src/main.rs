//! `runner`: every chosen workload against every chosen server, round by round.

mod broker;
mod chart;
mod cluster;
mod cores;
mod figure;
mod goals;
mod growth;
mod journal;
mod load_process;
mod machine;
mod peers;
mod report;
mod results;
mod rounds;
mod server;
mod statistics;
mod suite;
mod table;
mod versions;
mod workload;
mod workload_name;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::cores::Cores;
use crate::goals::Goals;
use crate::journal::{Journal, Session};
use crate::peers::Built;
use crate::report::{CLUSTER, Journals, Places};
use crate::rounds::Plan;
use crate::suite::Suite;
use crate::workload::Workload;

/// Compares WebSocket servers by the CPU time that the kernel books on each.
#[derive(Parser)]
enum Command {
    /// Measures a suite of suites.toml; goes on where an earlier call was interrupted.
    Suite {
        /// quick, all or cluster.
        name: String,
        /// Forget what was measured before.
        #[arg(long)]
        fresh: bool,
        #[command(flatten)]
        pinning: Pinning,
    },
    /// Measures what is named here, always from the start.
    Run(Choice),
    /// Writes BENCHMARKS.md and its charts from a suite that was measured.
    Report {
        /// quick, all or cluster; what was measured of clusters stands beside the first two.
        #[arg(default_value = "all")]
        name: String,
        /// Another place for the page; charts and runs go beside it.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Lists workloads and servers.
    #[command(subcommand)]
    List(List),
}

#[derive(Args)]
struct Choice {
    #[arg(long, value_delimiter = ',', required = true, help = format!("What to run: {}", workload_name::NAMES))]
    workloads: Vec<Workload>,
    /// Which servers of peers.toml.
    #[arg(long, value_delimiter = ',', default_value = "nexios,uwebsockets,fastwebsockets,axum")]
    peers: Vec<String>,
    /// Runs of each workload and server; they take turns (A B C A B C …).
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured window.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of load before each window.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    #[command(flatten)]
    pinning: Pinning,
}

#[derive(Args)]
struct Pinning {
    /// The core of the server; the first that is allowed without this.
    #[arg(long)]
    server_core: Option<usize>,
    /// The core of the load; the second that is allowed without this.
    #[arg(long)]
    load_core: Option<usize>,
    /// Take the programs as they were built before.
    #[arg(long)]
    no_build: bool,
}

#[derive(Subcommand)]
enum List {
    /// How workloads are named.
    Workloads,
    /// The servers of peers.toml.
    Peers,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Suite { name, fresh, pinning } => {
            let suite = Suite::read(&folder().join("suites.toml"), &name)?;
            let mut journal = Journal::open(journal_file(&name))?;
            if fresh {
                journal.clear()?;
            }
            measure(suite, &mut journal, &pinning)
        }
        Command::Run(choice) => {
            let Choice { workloads, peers, rounds, seconds, warm_up, pinning } = choice;
            ensure!(rounds > 0, "at least one round");
            let mut journal = Journal::open(journal_file("latest"))?;
            journal.clear()?;
            measure(Suite::of(workloads, peers, rounds, seconds, warm_up), &mut journal, &pinning)
        }
        Command::Report { name, to } => write_report(&name, to),
        Command::List(List::Workloads) => {
            println!("{}", workload_name::NAMES);
            Ok(())
        }
        Command::List(List::Peers) => {
            peers::read(&folder().join("peers.toml"))?.iter().for_each(|peer| println!("{}", peer.name));
            Ok(())
        }
    }
}

/// Builds, measures what is missing, and prints what there is.
fn measure(suite: Suite, journal: &mut Journal, pinning: &Pinning) -> Result<()> {
    load::raise_descriptor_limit()?;
    let cores = Cores::choose(pinning.server_core, pinning.load_core)?;
    let chosen = peers::choose(peers::read(&folder().join("peers.toml"))?, &suite.peers())?;
    let load_program = load_process::build(&folder(), pinning.no_build)?;
    let built = match pinning.no_build {
        true => chosen.into_iter().map(|peer| Built { peer, failure: None }).collect(),
        false => peers::build_all(&folder(), chosen),
    };
    if suite.is_clustered() {
        broker::build(&folder())?;
    }
    journal.begin(session(&suite, &built)?)?;
    Plan { folder: folder(), load_program, cores, suite }.run(&built, journal)?;
    report::print(journal, &Goals::read(&folder().join("goals.toml"))?);
    println!("Every run: {}", relative(journal.file()).display());
    Ok(())
}

fn session(suite: &Suite, built: &[Built]) -> Result<Session> {
    let versions = |built: &Built| (built.peer.name.clone(), versions::of(&built.peer, &folder()));
    let unbuilt = |built: &Built| Some((built.peer.name.clone(), built.failure.clone()?));
    Ok(Session {
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        machine: machine::describe(),
        revision: machine::revision(&folder()),
        seconds: suite.seconds,
        warm_up: suite.warm_up,
        versions: built.iter().map(versions).collect(),
        unbuilt: built.iter().filter_map(unbuilt).collect(),
    })
}

fn write_report(name: &str, to: Option<PathBuf>) -> Result<()> {
    let root = folder().join("..");
    let places = match to {
        Some(page) => {
            let beside = page.with_extension("");
            let link = beside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Places { page, folder: beside, link }
        }
        None => Places {
            page: root.join("BENCHMARKS.md"),
            folder: root.join("docs/benchmarks"),
            link: "docs/benchmarks".to_owned(),
        },
    };
    let goals = Goals::read(&folder().join("goals.toml"))?;
    let peers = peers::read(&folder().join("peers.toml"))?;
    let journals = Journals {
        suite: Journal::open(journal_file(name))?,
        cluster: (name != CLUSTER).then(|| Journal::open(journal_file(CLUSTER))).transpose()?,
    };
    report::write(&journals, name, &goals, &peers, &places)?;
    println!("{}", places.page.display());
    Ok(())
}

fn journal_file(name: &str) -> PathBuf {
    folder().join("results").join(format!("{name}.jsonl"))
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
