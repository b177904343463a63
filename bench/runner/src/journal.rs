//! The file of all runs, one JSON value a line, written as they end: what is interrupted goes on there.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use load::Report;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::workload::Workload;

/// One call of the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) unix_time: u64,
    pub(crate) machine: Machine,
    /// The commit of the repository, with a mark if files were changed.
    pub(crate) revision: String,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// For each server what it consists of.
    pub(crate) versions: Vec<(String, String)>,
    /// Servers that do not build, with the reason.
    pub(crate) unbuilt: Vec<(String, String)>,
}

/// One workload on one server, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) workload: Workload,
    pub(crate) peer: String,
    pub(crate) language: String,
    /// Threads of the server.
    pub(crate) shards: usize,
    pub(crate) round: usize,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Report(Box<Report>),
    Failure(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Session(Session),
    Run(Run),
}

/// All that was written so far, and the file for more.
pub(crate) struct Journal {
    file: PathBuf,
    pub(crate) sessions: Vec<Session>,
    pub(crate) runs: Vec<Run>,
}

impl Journal {
    /// Reads the file, or begins without one.
    pub(crate) fn open(file: PathBuf) -> Result<Self> {
        let mut journal = Self { file, sessions: Vec::new(), runs: Vec::new() };
        let text = if journal.file.exists() { fs::read_to_string(&journal.file)? } else { String::new() };
        for (number, line) in text.lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Session(session)) => journal.sessions.push(session),
                Ok(Line::Run(run)) => journal.runs.push(run),
                // A run that was interrupted while it was written down.
                Err(_) if number + 1 == text.lines().count() && !text.ends_with('\n') => {
                    journal.cut_last_line(&text)?
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("{}, line {}", journal.file.display(), number + 1));
                }
            }
        }
        Ok(journal)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> Result<()> {
        (self.sessions, self.runs) = (Vec::new(), Vec::new());
        if self.file.exists() {
            fs::remove_file(&self.file)?;
        }
        Ok(())
    }

    /// Begins a call. Runs of another machine or with other windows do not mix.
    pub(crate) fn begin(&mut self, session: Session) -> Result<()> {
        if let Some(last) = self.sessions.last() {
            let alike = last.machine.is_same(&session.machine)
                && (last.seconds, last.warm_up) == (session.seconds, session.warm_up);
            ensure!(alike, "{} is of another machine or with other windows: --fresh starts again", self.file.display());
            if last.revision != session.revision {
                eprintln!("NOTE: the runs so far are of revision {}, this is {}.", last.revision, session.revision);
            }
        }
        self.write(&Line::Session(session.clone()))?;
        self.sessions.push(session);
        Ok(())
    }

    /// Writes one run down.
    pub(crate) fn add(&mut self, run: Run) -> Result<()> {
        self.write(&Line::Run(run.clone()))?;
        self.runs.push(run);
        Ok(())
    }

    /// What was measured already: workload, server and round. What failed is to be tried again.
    pub(crate) fn measured(&self) -> HashSet<(&Workload, &str, usize)> {
        let mut measured = HashSet::new();
        for run in &self.runs {
            let key = (&run.workload, run.peer.as_str(), run.round);
            match run.outcome {
                Outcome::Report(_) => measured.insert(key),
                Outcome::Failure(_) => measured.remove(&key),
            };
        }
        measured
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    fn write(&self, line: &Line) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.file)?;
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        Ok(file.write_all(text.as_bytes())?)
    }

    fn cut_last_line(&self, text: &str) -> Result<()> {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let file = File::options().write(true).open(&self.file)?;
        Ok(file.set_len(whole as u64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bench-journal-{name}-{}.jsonl", std::process::id()))
    }

    fn run(round: usize, outcome: Outcome) -> Run {
        let workload = Workload::Handshakes;
        Run { workload, peer: "ours".to_owned(), language: "Rust".to_owned(), shards: 1, round, outcome }
    }

    fn session(seconds: f64) -> Session {
        Session {
            unix_time: 0,
            machine: crate::machine::describe(),
            revision: "abc".to_owned(),
            seconds,
            warm_up: 0.5,
            versions: Vec::new(),
            unbuilt: Vec::new(),
        }
    }

    #[test]
    fn what_was_measured_is_there_after_an_interruption() {
        let file = temporary("interrupted");
        let mut journal = Journal::open(file.clone()).unwrap();
        journal.clear().unwrap();
        journal.begin(session(1.0)).unwrap();
        journal.add(run(1, Outcome::Report(Box::new(Report { units: 7, ..Report::default() })))).unwrap();
        journal.add(run(2, Outcome::Failure("gone".to_owned()))).unwrap();
        // The third is cut off in the middle.
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"kind\":\"run\",\"wor").unwrap();

        let mut journal = Journal::open(file.clone()).unwrap();
        assert_eq!(
            journal.measured(),
            HashSet::from([(&Workload::Handshakes, "ours", 1)]),
            "what failed is tried again"
        );
        journal.add(run(2, Outcome::Report(Box::default()))).unwrap();
        assert_eq!(Journal::open(file.clone()).unwrap().measured().len(), 2);
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn other_windows_do_not_mix() {
        let file = temporary("windows");
        let mut journal = Journal::open(file.clone()).unwrap();
        journal.clear().unwrap();
        journal.begin(session(1.0)).unwrap();
        assert!(journal.begin(session(2.0)).is_err());
        journal.clear().unwrap();
        assert!(journal.begin(session(2.0)).is_ok());
        fs::remove_file(file).unwrap();
    }
}
