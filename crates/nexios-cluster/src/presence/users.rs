//! The users of one room: each with the connections here, and what other nodes say.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::wire::Told;
use crate::envelope::NodeId;

/// What an entry costs beside its texts, about.
const ENTRY_COST: usize = 160;

/// In order of their names, so that a state can be sent and taken in pieces.
#[derive(Default)]
pub(super) struct Users {
    by_name: BTreeMap<Arc<str>, User>,
    bytes: usize,
}

/// A user with at least one connection somewhere.
#[derive(Default)]
pub(super) struct User {
    /// The data of the connections here, by the stamp of each.
    here: BTreeMap<u64, Arc<str>>,
    elsewhere: Vec<(NodeId, Elsewhere)>,
}

struct Elsewhere {
    connections: u32,
    stamp: u64,
    data: Arc<str>,
}

/// What became of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The first connection anywhere.
    Join,
    /// Other data are the newest now.
    Update,
    /// The last connection anywhere is gone.
    Leave,
}

/// A change and the data that go with it.
pub(super) type Changed = (Change, Arc<str>);

/// How much an entry counts for.
pub(super) fn cost(user: &str, data: &str) -> usize {
    ENTRY_COST + user.len() + data.len()
}

impl Users {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How much memory all of them take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &User)> {
        self.by_name.iter()
    }

    /// A connection here, in the place of the one with another stamp, if there is one.
    pub(super) fn put(&mut self, user: &Arc<str>, stamp: u64, data: &Arc<str>, before: Option<u64>) -> Option<Changed> {
        self.bytes += cost(user, data);
        self.change(user, |user, freed| {
            user.here.insert(stamp, data.clone());
            freed.extend(before.and_then(|stamp| user.here.remove(&stamp)));
        })
    }

    /// A connection here is gone.
    pub(super) fn take(&mut self, user: &Arc<str>, stamp: u64) -> Option<Changed> {
        self.change(user, |user, freed| freed.extend(user.here.remove(&stamp)))
    }

    /// What another node says of a user.
    pub(super) fn tell(&mut self, node: NodeId, told: &Told) -> Option<Changed> {
        if told.connections > 0 {
            self.bytes += cost(&told.user, &told.data);
        } else if !self.by_name.contains_key(&told.user) {
            return None;
        }
        self.change(&told.user, |user, freed| {
            let at = user.elsewhere.iter().position(|(other, _)| *other == node);
            freed.extend(at.map(|at| user.elsewhere.swap_remove(at).1.data));
            if told.connections > 0 {
                let Told { connections, stamp, .. } = *told;
                user.elsewhere.push((node, Elsewhere { connections, stamp, data: told.data.clone() }));
            }
        })
    }

    fn change(&mut self, name: &Arc<str>, act: impl FnOnce(&mut User, &mut Vec<Arc<str>>)) -> Option<Changed> {
        let mut freed = Vec::new();
        let user = match self.by_name.get_mut(name) {
            Some(user) => user,
            None => self.by_name.entry(name.clone()).or_default(),
        };
        let before = user.newest();
        act(user, &mut freed);
        let after = user.newest();
        self.bytes -= freed.iter().map(|data| cost(name, data)).sum::<usize>().min(self.bytes);
        match (before, after) {
            (Some((_, data)), None) => {
                self.by_name.remove(name);
                Some((Change::Leave, data))
            }
            (None, None) => {
                self.by_name.remove(name);
                None
            }
            (None, Some((_, data))) => Some((Change::Join, data)),
            (Some((_, before)), Some((_, data))) => (before != data).then_some((Change::Update, data)),
        }
    }

    /// Those of whom a node has said something, behind `after` up to `upto`.
    pub(super) fn told_by(&self, node: NodeId, after: Option<&str>, upto: Option<&str>) -> Vec<Arc<str>> {
        let told = |user: &User| user.elsewhere.iter().any(|(other, _)| *other == node);
        self.range(after, upto).filter(|(_, user)| told(user)).map(|(name, _)| name.clone()).collect()
    }

    fn range(&self, after: Option<&str>, upto: Option<&str>) -> impl Iterator<Item = (&Arc<str>, &User)> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        // A range that ends before it begins would be a panic, and other nodes say where.
        let last = match (after, upto) {
            (Some(after), Some(upto)) if upto <= after => Bound::Excluded(after),
            (_, upto) => upto.map_or(Bound::Unbounded, Bound::Included),
        };
        let is_empty = matches!((first, last), (Bound::Excluded(first), Bound::Excluded(last)) if first == last);
        let range = (!is_empty).then(|| self.by_name.range::<str, _>((first, last)));
        range.into_iter().flatten()
    }

    /// What this node says of one user.
    pub(super) fn said(&self, name: &Arc<str>) -> Told {
        self.by_name.get(name).and_then(|user| user.said(name)).unwrap_or_else(|| Told {
            user: name.clone(),
            connections: 0,
            stamp: 0,
            data: "".into(),
        })
    }

    /// What this node says of its users behind `after`, as many as fit; `true` if these are all.
    pub(super) fn said_behind(&self, after: Option<&str>, bytes_max: usize) -> (Vec<Told>, bool) {
        let mut said = Vec::new();
        let mut bytes = 0;
        for told in self.range(after, None).filter_map(|(name, user)| user.said(name)) {
            if bytes >= bytes_max {
                return (said, false);
            }
            bytes += told.len();
            said.push(told);
        }
        (said, true)
    }
}

impl User {
    pub(super) fn connections(&self) -> usize {
        let elsewhere = self.elsewhere.iter().map(|(_, elsewhere)| elsewhere.connections as usize);
        elsewhere.fold(self.here.len(), usize::saturating_add)
    }

    /// The newest data of all connections. Of two with one stamp the same one wins on all nodes.
    pub(super) fn newest(&self) -> Option<(u64, Arc<str>)> {
        let here = self.here.last_key_value().map(|(stamp, data)| (*stamp, data));
        let elsewhere = self.elsewhere.iter().map(|(_, elsewhere)| (elsewhere.stamp, &elsewhere.data));
        here.into_iter().chain(elsewhere).max().map(|(stamp, data)| (stamp, data.clone()))
    }

    fn said(&self, name: &Arc<str>) -> Option<Told> {
        let (stamp, data) = self.here.last_key_value()?;
        let connections = u32::try_from(self.here.len()).unwrap_or(u32::MAX);
        Some(Told { user: name.clone(), connections, stamp: *stamp, data: data.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: &str, connections: u32, stamp: u64, data: &str) -> Told {
        Told { user: user.into(), connections, stamp, data: data.into() }
    }

    fn changed(change: Change, data: &str) -> Option<Changed> {
        Some((change, data.into()))
    }

    #[test]
    fn several_connections_are_one_user_with_the_newest_data() {
        let (mut users, node, ann) = (Users::default(), NodeId([1; 16]), Arc::<str>::from("ann"));
        assert_eq!(users.put(&ann, 10, &"1".into(), None), changed(Change::Join, "1"));
        assert_eq!(users.tell(node, &told("ann", 2, 5, "old")), None);
        assert_eq!(users.put(&ann, 20, &"2".into(), None), changed(Change::Update, "2"));
        assert_eq!((users.len(), users.iter().next().unwrap().1.connections()), (1, 4));
        assert_eq!(users.take(&ann, 20), changed(Change::Update, "1"));
        assert_eq!(users.take(&ann, 10), changed(Change::Update, "old"));
        assert_eq!(users.tell(node, &told("ann", 0, 0, "")), changed(Change::Leave, "old"));
        assert_eq!((users.len(), users.bytes()), (0, 0));
        assert_eq!(users.tell(node, &told("ann", 0, 0, "")), None);
    }

    #[test]
    fn new_data_of_a_connection_replace_its_old() {
        let (mut users, ann) = (Users::default(), Arc::<str>::from("ann"));
        users.put(&ann, 1, &"1".into(), None);
        assert_eq!(users.put(&ann, 2, &"1".into(), Some(1)), None);
        assert_eq!(users.put(&ann, 3, &"2".into(), Some(2)), changed(Change::Update, "2"));
        assert_eq!(users.bytes(), cost("ann", "2"));
    }

    #[test]
    fn pieces_follow_the_order_of_names() {
        let mut users = Users::default();
        for (stamp, name) in (1..).zip(["d", "b", "a", "c"]) {
            users.put(&name.into(), stamp, &"1".into(), None);
        }
        let names = |said: &[Told]| said.iter().map(|told| told.user.to_string()).collect::<Vec<_>>();
        let (first, is_all) = users.said_behind(None, 30);
        assert_eq!((names(&first), is_all), (vec!["a".to_owned(), "b".to_owned()], false));
        let (second, is_all) = users.said_behind(Some("b"), 1000);
        assert_eq!((names(&second), is_all), (vec!["c".to_owned(), "d".to_owned()], true));
        let node = NodeId([1; 16]);
        ["b", "c"].iter().for_each(|name| _ = users.tell(node, &told(name, 1, 9, "")));
        assert_eq!(users.told_by(node, Some("b"), None), [Arc::<str>::from("c")]);
        assert_eq!(users.told_by(node, None, Some("b")), [Arc::<str>::from("b")]);
        assert!(users.told_by(node, Some("c"), Some("a")).is_empty());
        assert!(users.told_by(node, Some("c"), Some("c")).is_empty());
    }
}
