//! Suites: which workloads run against which servers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workload::Workload;

/// One entry of `suites.toml`, or what the command line asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Suite {
    pub(crate) rounds: usize,
    /// Of each measured window.
    pub(crate) seconds: f64,
    /// Of load before each window.
    pub(crate) warm_up: f64,
    #[serde(rename = "group")]
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Deserialize)]
struct Group {
    peers: Vec<String>,
    workloads: Vec<Workload>,
}

/// One workload and the servers that take turns with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turns {
    pub(crate) workload: Workload,
    pub(crate) peers: Vec<String>,
}

impl Suite {
    /// Every workload against every server.
    pub(crate) fn of(workloads: Vec<Workload>, peers: Vec<String>, rounds: usize, seconds: f64, warm_up: f64) -> Self {
        Self { rounds, seconds, warm_up, groups: vec![Group { peers, workloads }] }
    }

    /// One suite of the file.
    pub(crate) fn read(file: &Path, name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let mut suites: BTreeMap<String, Self> = toml::from_str(&text)?;
        suites.remove(name).with_context(|| format!("no suite {name} in {}", file.display()))
    }

    /// The workloads in their order, each once, with the servers of all groups that name it.
    pub(crate) fn turns(&self) -> Vec<Turns> {
        let mut turns: Vec<Turns> = Vec::new();
        for group in &self.groups {
            for workload in &group.workloads {
                let peers = match turns.iter_mut().find(|turn| turn.workload == *workload) {
                    Some(turn) => &mut turn.peers,
                    None => {
                        turns.push(Turns { workload: workload.clone(), peers: Vec::new() });
                        let last = turns.len() - 1;
                        &mut turns[last].peers
                    }
                };
                let new: Vec<String> = group.peers.iter().filter(|peer| !peers.contains(peer)).cloned().collect();
                peers.extend(new);
            }
        }
        turns
    }

    /// Whether some workload needs two nodes and a broker.
    pub(crate) fn is_clustered(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.workloads).any(Workload::is_clustered)
    }

    /// All servers, each once.
    pub(crate) fn peers(&self) -> Vec<String> {
        let mut peers: Vec<String> = Vec::new();
        for peer in self.groups.iter().flat_map(|group| &group.peers) {
            if !peers.contains(peer) {
                peers.push(peer.clone());
            }
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_several_groups_take_turns_with_a_workload_they_share() {
        let text = r#"
            [quick]
            rounds = 5
            seconds = 1.0
            warm_up = 0.3
            [[quick.group]]
            peers = ["a", "b"]
            workloads = ["echo-20", "handshakes"]
            [[quick.group]]
            peers = ["b", "c"]
            workloads = ["handshakes"]
        "#;
        let suites: BTreeMap<String, Suite> = toml::from_str(text).unwrap();
        let turns = suites["quick"].turns();
        assert_eq!(turns.len(), 2);
        assert_eq!(
            turns[1],
            Turns { workload: Workload::Handshakes, peers: ["a", "b", "c"].map(str::to_owned).to_vec() }
        );
        assert_eq!(suites["quick"].peers(), ["a", "b", "c"]);
    }

    #[test]
    fn the_suites_of_this_folder_name_servers_and_workloads_that_exist() {
        let folder = crate::folder();
        let peers = crate::peers::read(&folder.join("peers.toml")).unwrap();
        for name in ["quick", "all", "cluster"] {
            let suite = Suite::read(&folder.join("suites.toml"), name).unwrap();
            crate::peers::choose(peers.clone(), &suite.peers()).unwrap();
            assert!(suite.rounds >= 5, "{name}: medians of fewer rounds mean little");
        }
    }
}
