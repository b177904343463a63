//! `chaos run`: three nodes and a broker, clients that listen and publishers that never stop, and
//! one fault after another; then what clients saw is held against what was promised.
//!
//! A seed decides in which order faults come and who does what when; threads, sockets and the
//! kernel do not heed it, so a run is not the same twice, but it is of the same kind.

mod broker;
mod cluster;
mod fault;
mod journal;
mod nats;
mod network;
mod node;
mod publisher;
mod round;
mod sentinel;
mod server;
mod slots;
mod subscriber;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::broker::Kind;
use crate::round::{Plan, Totals};

/// An error of a program that only prints it.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Breaks things, and says what came of it.
    Run(Run),
    /// One node.
    Node {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        broker: String,
    },
    /// The hub.
    Hub { path: PathBuf },
}

#[derive(clap::Args)]
struct Run {
    /// How often all faults are done.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The seed of the first round; the next has the next. Random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only with this broker, else with one after another.
    #[arg(long)]
    broker: Option<Kind>,
    /// Only these faults.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<fault::Fault>,
    /// Shorter faults.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let result = match Arguments::parse().command {
        Command::Run(run) => break_things(run),
        Command::Node { listen, broker } => node::run(&listen, &broker).map(|()| true),
        Command::Hub { path } => broker::run_hub(&path).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false` where a promise was broken.
fn break_things(run: Run) -> Result<bool> {
    let network = network::Network::enter()?;
    let first = run.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut totals = Totals::default();
    for at in 0..run.rounds {
        let seed = first.wrapping_add(at);
        let kind = run.broker.unwrap_or_else(|| Kind::of_round(seed));
        println!("round {} of {}: {kind}, seed {seed}", at + 1, run.rounds);
        let plan = Plan { kind, seed, faults: run.faults.clone(), quick: run.quick };
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = round::run(&plan, &network, &mut totals) => ended,
                signal = interrupted() => signal,
            }
        });
        ended.map_err(|error| format!("{kind}, seed {seed}: {error}"))?;
    }
    println!("  {:<34} {totals}", "in all");
    println!("{} passed, {} skipped, {} promises broken", totals.faults, totals.skipped, totals.violations);
    Ok(totals.violations == 0)
}

/// Returns at SIGINT or SIGTERM: nodes and broker end with the round.
async fn interrupted() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Err("interrupted".into())
}
