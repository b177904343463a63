//! The counts that a change is compared with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const HEAD: &str =
    "# Instructions of each hot path, counted by callgrind. Written by `make bench-instructions-renew`.\n\n";

/// Counts, and what they depend on beside the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    pub(crate) valgrind: String,
    pub(crate) compiler: String,
    pub(crate) processor: String,
    /// For each time that the path is gone.
    pub(crate) instructions: BTreeMap<String, f64>,
}

/// One path, then and now.
#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) path: String,
    before: f64,
    now: f64,
}

impl Baseline {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Ok(toml::from_str(&text)?)
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        Ok(std::fs::write(file, self.to_text()?)?)
    }

    /// All paths that were found; one without a baseline counts as unchanged.
    pub(crate) fn compare(&self, found: &Self) -> Vec<Change> {
        let change = |(path, now): (&String, &f64)| {
            let before = self.instructions.get(path).copied().unwrap_or(*now);
            Change { path: path.clone(), before, now: *now }
        };
        found.instructions.iter().map(change).collect()
    }

    /// Why counts may differ although the code does not.
    pub(crate) fn conditions_that_differ(&self, found: &Self) -> Vec<String> {
        let conditions =
            [(&self.valgrind, &found.valgrind), (&self.compiler, &found.compiler), (&self.processor, &found.processor)];
        let differ = conditions.into_iter().filter(|(before, now)| before != now);
        differ
            .map(|(before, now)| format!("the baseline is of {before}, this is {now}: renew it before the change"))
            .collect()
    }
}

impl Change {
    pub(crate) fn ratio(&self) -> f64 {
        self.now / self.before.max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, before, now } = self;
        write!(
            f,
            "{path:16} {now:>10.1} instructions, baseline {before:>10.1} ({:+.1} %)",
            100.0 * (self.ratio() - 1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(counts: &[(&str, f64)]) -> Baseline {
        let instructions = counts.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
        Baseline { compiler: "rustc 1".to_owned(), instructions, ..Baseline::default() }
    }

    #[test]
    fn a_longer_path_shows_and_a_new_one_is_unchanged() {
        let changes = baseline(&[("echo-turn", 100.0)]).compare(&baseline(&[("echo-turn", 103.0), ("new", 5.0)]));
        assert_eq!(changes[0].ratio(), 1.03);
        assert!(changes[0].to_string().contains("+3.0 %"));
        assert_eq!(changes[1].ratio(), 1.0);
    }

    #[test]
    fn another_compiler_is_named() {
        let mut other = baseline(&[]);
        assert!(baseline(&[]).conditions_that_differ(&other).is_empty());
        other.compiler = "rustc 2".to_owned();
        assert_eq!(baseline(&[]).conditions_that_differ(&other).len(), 1);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = baseline(&[("echo-turn", 1234.5)]);
        assert_eq!(toml::from_str::<Baseline>(&written.to_text().unwrap()).unwrap(), written);
    }
}
