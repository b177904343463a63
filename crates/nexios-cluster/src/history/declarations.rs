//! Which rooms store, as far as the app has said so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::log::History;

/// Declarations that nobody holds and that are remembered all the same; beyond, those that were
/// used least recently are forgotten.
const REMEMBERED_MAX: usize = 64 << 10;

/// Rooms with history, by name.
///
/// A declaration lives as long as a `Room` that was made with it or a member, and
/// then for as long as messages that were sent meanwhile: a `ttl` since it was last used.
#[derive(Default)]
pub struct Declarations {
    by_name: Mutex<HashMap<Arc<str>, Arc<Declared>>>,
    /// Broadcasts of an app without rooms with history need not look for one.
    any: AtomicBool,
}

/// One declaration, shared by the rooms that were made with it.
#[derive(Debug)]
pub struct Declared {
    pub(crate) history: History,
    used: Mutex<Instant>,
}

impl Declared {
    /// Returns a declaration of a room with this history.
    pub fn new(history: History) -> Arc<Self> {
        Arc::new(Declared { history, used: Mutex::new(Instant::now()) })
    }

    fn touch(&self, now: Instant) {
        *self.used.lock() = now;
    }

    fn is_over(self: &Arc<Self>, now: Instant) -> bool {
        Arc::strong_count(self) == 1 && now.saturating_duration_since(*self.used.lock()) > self.history.ttl
    }
}

impl Declarations {
    /// Declares the history of a room. Returns what all equal declarations share.
    pub fn declare(
        &self,
        name: &Arc<str>,
        declared: &Arc<Declared>,
        has_members: impl Fn(&str) -> bool,
    ) -> Arc<Declared> {
        let now = Instant::now();
        let mut by_name = self.by_name.lock();
        if let Some(known) = by_name.get_mut(name) {
            if known.history != declared.history {
                *known = declared.clone();
            }
            known.touch(now);
            return known.clone();
        }
        declared.touch(now);
        by_name.insert(name.clone(), declared.clone());
        self.any.store(true, Ordering::Relaxed);
        // Doubling, so that looking at all of them is rare.
        if by_name.len() > 64 && by_name.len().is_power_of_two() || by_name.len() > 2 * REMEMBERED_MAX {
            sweep(&mut by_name, now, has_members);
        }
        declared.clone()
    }

    /// Returns the limits of a room's history, if it has one.
    pub fn find(&self, name: &str) -> Option<History> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let by_name = self.by_name.lock();
        let declared = by_name.get(name)?;
        declared.touch(Instant::now());
        Some(declared.history)
    }
}

fn sweep(by_name: &mut HashMap<Arc<str>, Arc<Declared>>, now: Instant, has_members: impl Fn(&str) -> bool) {
    by_name.retain(|name, declared| !declared.is_over(now) || has_members(name));
    let mut unheld: Vec<(Instant, Arc<str>)> = by_name
        .iter()
        .filter(|(name, declared)| Arc::strong_count(declared) == 1 && !has_members(name))
        .map(|(name, declared)| (*declared.used.lock(), name.clone()))
        .collect();
    if unheld.len() > REMEMBERED_MAX {
        unheld.sort_unstable();
        for (_, name) in unheld.iter().take(unheld.len() - REMEMBERED_MAX / 2) {
            by_name.remove(name);
        }
    }
    by_name.shrink_to(by_name.len() * 2);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn swept(declarations: &Declarations, after_secs: u64, members: &[&str]) -> Vec<String> {
        let now = Instant::now() + Duration::from_secs(after_secs);
        let mut by_name = declarations.by_name.lock();
        sweep(&mut by_name, now, |name| members.contains(&name));
        let mut names: Vec<String> = by_name.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn a_declaration_lives_with_its_room_its_members_and_its_messages() {
        let declarations = Declarations::default();
        let history = History::new(10, Duration::from_secs(60));
        let held = Declared::new(history);
        declarations.declare(&"held".into(), &held, |_| false);
        for name in ["filled", "empty"] {
            declarations.declare(&name.into(), &Declared::new(history), |_| false);
        }
        assert_eq!(declarations.find("empty"), Some(history));
        assert_eq!(declarations.find("other"), None);
        assert_eq!(swept(&declarations, 30, &[]), ["empty", "filled", "held"]);
        assert_eq!(swept(&declarations, 61, &["filled"]), ["filled", "held"]);
        let same = declarations.declare(&"held".into(), &Declared::new(history), |_| false);
        assert!(Arc::ptr_eq(&same, &held), "who says the same shares it");
        let other = Declared::new(History::new(20, Duration::from_secs(60)));
        declarations.declare(&"held".into(), &other, |_| false);
        assert_eq!(declarations.find("held"), Some(other.history), "the last one counts");
        drop((held, same, other));
        assert!(swept(&declarations, 61, &[]).is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let declarations = Declarations::default();
        let history = History::new(10, Duration::from_secs(1 << 20));
        for n in 0..3 * REMEMBERED_MAX {
            declarations.declare(&n.to_string().into(), &Declared::new(history), |_| false);
        }
        assert!(declarations.by_name.lock().len() <= 2 * REMEMBERED_MAX);
        assert!(declarations.find(&(3 * REMEMBERED_MAX - 1).to_string()).is_some());
    }
}
