//! Which core belongs to the server and which to the load.

use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two different cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The named cores, or the first two that this process may use.
    pub(crate) fn choose(server: Option<usize>, load: Option<usize>) -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut free =
            (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core) && Some(*core) != server && Some(*core) != load);
        let mut pick = |named: Option<usize>| named.or_else(|| free.next()).context("two cores are needed");
        let cores = Self { server: pick(server)?, load: pick(load)? };
        if cores.server == cores.load {
            bail!("server and load need a core each");
        }
        Ok(cores)
    }

    /// The cores of a server with so many threads. With more than one it shares the load's.
    pub(crate) fn server(self, shards: usize) -> Vec<usize> {
        if shards > 1 { vec![self.server, self.load] } else { vec![self.server] }
    }

    /// Where two nodes, their broker and the load are, all on both cores: none of them sleeps while it has work,
    /// and none has a core of its own.
    pub(crate) fn shared(self) -> Vec<usize> {
        vec![self.server, self.load]
    }

    /// The cores of the load against that server.
    pub(crate) fn load(self, shards: usize) -> Vec<usize> {
        if shards > 1 { self.server(shards) } else { vec![self.load] }
    }
}

/// Starts a process that can run on these cores only, from its first instruction on.
pub(crate) fn spawn_on(cores: &[usize], command: &mut Command) -> Result<Child> {
    // A child inherits the affinity of the thread that starts it.
    let mut only = CpuSet::new();
    cores.iter().for_each(|core| only.set(*core));
    sched_setaffinity(None, &only).with_context(|| format!("the cores {cores:?} are not available"))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("{program} cannot be started"))
}
