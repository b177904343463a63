//! The table of servers, and building them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The last lines of a failed build that are shown.
const BUILD_LOG_LINES: usize = 15;

/// One line of `peers.toml`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Peer {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) language: String,
    build: Option<String>,
    run: String,
    /// Families of workloads that the server cannot do.
    #[serde(default)]
    without: Vec<String>,
    /// Families of workloads that most servers cannot do, and this one can.
    #[serde(default)]
    also: Vec<String>,
    /// Families of workloads that the server does, and no others.
    #[serde(default)]
    only: Vec<String>,
    /// What the nodes of a cluster speak, as the load names it.
    #[serde(default = "plain")]
    pub(crate) protocol: String,
    /// Threads of the server.
    #[serde(default = "one")]
    pub(crate) shards: usize,
    /// What it consists of, where no lock file or environment tells.
    pub(crate) version: Option<String>,
}

/// Families that a server has only where it says so.
const RARE_FAMILIES: [&str; 5] = ["http", "tls", "rooms", "cluster", "recovery"];

fn plain() -> String {
    "plain".to_owned()
}

fn one() -> usize {
    1
}

impl Peer {
    pub(crate) fn offers(&self, family: &str) -> bool {
        if !self.only.is_empty() {
            return self.only.iter().any(|offered| offered == family);
        }
        let lacks = |family: &str| self.without.iter().any(|missing| missing == family);
        match family {
            "broadcast-deflate" => !lacks(family) && !lacks("broadcast") && !lacks("deflate"),
            _ if RARE_FAMILIES.contains(&family) => self.also.iter().any(|offered| offered == family),
            _ => !lacks(family),
        }
    }

    /// The program and its arguments.
    pub(crate) fn command(&self, folder: &Path, address: &str, broker: &str) -> Result<Command> {
        let run = self.run.replace("{address}", address).replace("{broker}", broker);
        command(folder, &run)
    }

    /// How it is built and started, as one line each.
    pub(crate) fn lines(&self) -> (Option<&str>, &str) {
        (self.build.as_deref(), &self.run)
    }

    fn build(&self, folder: &Path) -> Result<()> {
        let Some(build) = &self.build else { return Ok(()) };
        let output = command(folder, build)?.output().with_context(|| format!("`{build}` cannot be started"))?;
        if !output.status.success() {
            let log = without_place(&String::from_utf8_lossy(&output.stderr), folder);
            let lines: Vec<&str> = log.trim_end().lines().collect();
            let tail = lines[lines.len().saturating_sub(BUILD_LOG_LINES)..].join("\n");
            bail!("`{build}` failed:\n{tail}");
        }
        Ok(())
    }
}

/// The reason is published: where the checkout is on this machine stays here.
fn without_place(log: &str, folder: &Path) -> String {
    let checkout = folder.join("..").canonicalize().unwrap_or_default();
    match checkout.to_str() {
        Some(checkout) if checkout.len() > 1 => log.replace(&format!("{checkout}/"), ""),
        _ => log.to_owned(),
    }
}

/// A server that is ready to start, or why not.
pub(crate) struct Built {
    pub(crate) peer: Peer,
    pub(crate) failure: Option<String>,
}

/// Reads the table, in its order.
pub(crate) fn read(file: &Path) -> Result<Vec<Peer>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Peer>> {
    let table: toml::Table = text.parse()?;
    let in_order = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    let mut peers = Vec::new();
    for name in in_order.filter(|name| !name.starts_with('#')) {
        let entry = table.get(name).with_context(|| format!("{name} is not one line"))?.clone();
        let peer: Peer = entry.try_into().with_context(|| format!("the line of {name}"))?;
        peers.push(Peer { name: name.to_owned(), ..peer });
    }
    Ok(peers)
}

/// The named servers in the order of their names; all of them if none is named.
pub(crate) fn choose(all: Vec<Peer>, names: &[String]) -> Result<Vec<Peer>> {
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<&str> = all.iter().map(|peer| peer.name.as_str()).collect();
    let find = |name: &String| all.iter().find(|peer| peer.name == *name).cloned();
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("no peer {name}; there are {}", known.join(", "))))
        .collect()
}

/// Builds one after another. A failure is told at once and kept for the table.
pub(crate) fn build_all(folder: &Path, peers: Vec<Peer>) -> Vec<Built> {
    peers
        .into_iter()
        .map(|peer| {
            eprintln!("building {}", peer.name);
            let failure = peer.build(folder).err().map(|error| format!("{error:#}"));
            if let Some(failure) = &failure {
                eprintln!("{} did not build and is left out: {failure}", peer.name);
            }
            Built { peer, failure }
        })
        .collect()
}

fn command(folder: &Path, line: &str) -> Result<Command> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let line = line.replace("{target}", &folder.join(target).to_string_lossy());
    let mut words = line.split_whitespace();
    let program = words.next();
    ensure!(program.is_some(), "an empty command");
    let mut command = Command::new(program.unwrap_or_default());
    command.args(words).current_dir(folder);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_keeps_its_order() {
        let peers =
            parse("# all\nz = { language = \"C++\", run = \"z\" }\na = { language = \"Rust\", run = \"a\" }").unwrap();
        assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    }

    #[test]
    fn an_unknown_peer_is_an_error() {
        assert!(choose(Vec::new(), &["nobody".to_owned()]).is_err());
    }

    #[test]
    fn compressed_broadcasts_need_both_and_rare_families_have_to_be_named() {
        let peers = parse("a = { language = \"C\", run = \"a\", without = [\"deflate\"], also = [\"http\"] }").unwrap();
        let offered = |family| peers[0].offers(family);
        assert!(offered("echo") && offered("broadcast") && offered("http"));
        assert!(!offered("deflate") && !offered("broadcast-deflate") && !offered("tls"));
    }

    #[test]
    fn a_node_of_a_cluster_does_nothing_else_and_is_told_its_broker() {
        let peers = parse("a = { language = \"C\", run = \"a {address} {broker}\", only = [\"cluster\"] }").unwrap();
        let offered = |family| peers[0].offers(family);
        assert!(offered("cluster"));
        assert!(!offered("echo") && !offered("http") && !offered("recovery"));
        let command = peers[0].command(Path::new("."), "127.0.0.1:1", "redis://127.0.0.1:2").unwrap();
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["127.0.0.1:1", "redis://127.0.0.1:2"]);
        assert_eq!(peers[0].protocol, "plain");
    }

    #[test]
    fn a_reason_does_not_say_where_the_checkout_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = folder.join("..").canonicalize().unwrap();
        let log = format!("no file {}/target/x, nor /usr/x", checkout.display());
        assert_eq!(without_place(&log, folder), "no file target/x, nor /usr/x");
    }

    #[test]
    fn a_failed_build_is_kept_with_its_reason() {
        let peers = parse("broken = { language = \"Rust\", build = \"false\", run = \"x\" }").unwrap();
        let built = build_all(Path::new("."), peers);
        assert!(built[0].failure.as_ref().unwrap().contains("`false` failed"));
    }
}
