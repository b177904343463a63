//! Scripts that Redis runs in one step, known to it by their digest.

use std::fmt::Write;
use std::sync::Arc;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, cmd};
use sha1::{Digest, Sha1};

use super::Connection;
use crate::engines::link::LinkError;

pub(super) struct Script {
    code: &'static str,
    digest: String,
}

/// One run of a script, for a channel.
pub(super) struct Run {
    channel: Arc<str>,
    command: Cmd,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        let mut digest = String::with_capacity(40);
        for byte in Sha1::digest(code) {
            // Writing to a `String` cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        Script { code, digest }
    }

    /// A run with so many keys; they are the first arguments of its command.
    pub(super) fn run(&self, channel: &Arc<str>, keys: usize) -> Run {
        let mut command = cmd("EVALSHA");
        command.arg(&self.digest).arg(keys);
        Run { channel: channel.clone(), command }
    }

    pub(super) async fn load(&self, connection: &Connection) -> Result<(), LinkError> {
        connection.ask(cmd("SCRIPT").arg("LOAD").arg(self.code)).await.map(drop)
    }

    /// Runs it so many times in one round trip, and once more those for which Redis had forgotten it.
    pub(super) async fn run_all(&self, connection: &Connection, runs: &[Run]) -> Result<Vec<Value>, LinkError> {
        let commands = |runs: &mut dyn Iterator<Item = &Run>| {
            runs.map(|run| (run.channel.clone(), run.command.clone())).collect::<Vec<_>>()
        };
        let mut answers = connection.run(commands(&mut runs.iter())).await?;
        let forgotten: Vec<_> = (0..answers.len()).filter(|at| answers[*at].as_ref().is_err_and(is_unknown)).collect();
        if !forgotten.is_empty() {
            self.load(connection).await?;
            let once_more = connection.run(commands(&mut forgotten.iter().map(|at| &runs[*at]))).await?;
            forgotten.into_iter().zip(once_more).for_each(|(at, answer)| answers[at] = answer);
        }
        Ok(answers.into_iter().collect::<Result<_, _>>()?)
    }
}

impl Run {
    pub(super) fn arg(&mut self, argument: impl redis::ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
