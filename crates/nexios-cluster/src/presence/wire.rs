//! What nodes say to each other about presence: `docs/broker-envelope.md` has it to the byte.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::{NodeId, Rest, Unreadable, length, push_text};

const VERSION: u8 = 2;

/// One message. A version is a node's count of all changes that it has made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Announcement {
    /// The node is there; after so long without a word it is not any more.
    Alive { ttl: Duration },
    /// The node ends.
    Gone,
    /// These nodes, or all, are asked for their digests.
    Hello { nodes: Vec<NodeId> },
    /// All rooms with clients of the node whose hashes are from `first` to `last`, with the
    /// versions of what was said last about them.
    Digest { counter: u64, first: u128, last: u128, rooms: Vec<(u128, u64)> },
    /// What has changed in a room since version `base`; 0 says that there was nobody.
    Delta { base: u64, version: u64, users: Vec<Told> },
    /// All users of the node in a room behind `after` up to `upto`, in order of their names;
    /// `None` is the beginning and the end.
    State { version: u64, after: Option<Arc<str>>, upto: Option<Arc<str>>, users: Vec<Told> },
    /// A node, or all, are asked for their state of a room.
    Query { node: Option<NodeId> },
}

/// What one node says of one user in one room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) user: Arc<str>,
    /// 0 says that the user is gone there.
    pub(super) connections: u32,
    pub(super) stamp: u64,
    pub(super) data: Arc<str>,
}

impl Told {
    /// About how many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.user.len() + self.data.len() + 20
    }
}

impl Announcement {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Announcement::Alive { ttl } => {
                out.push(0);
                out.extend(u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
            }
            Announcement::Gone => out.push(1),
            Announcement::Hello { nodes } => {
                out.push(2);
                out.extend(length(nodes.len()));
                nodes.iter().for_each(|node| out.extend(node.0));
            }
            Announcement::Digest { counter, first, last, rooms } => {
                out.push(3);
                out.extend(counter.to_be_bytes());
                [first, last].into_iter().for_each(|hash| out.extend(hash.to_be_bytes()));
                out.extend(length(rooms.len()));
                for (hash, version) in rooms {
                    out.extend(hash.to_be_bytes());
                    out.extend(version.to_be_bytes());
                }
            }
            Announcement::Delta { base, version, users } => {
                out.push(4);
                out.extend(base.to_be_bytes());
                out.extend(version.to_be_bytes());
                push_users(&mut out, users);
            }
            Announcement::State { version, after, upto, users } => {
                out.push(5);
                out.extend(version.to_be_bytes());
                push_place(&mut out, after.as_deref());
                push_place(&mut out, upto.as_deref());
                push_users(&mut out, users);
            }
            Announcement::Query { node } => {
                out.push(6);
                out.push(u8::from(node.is_some()));
                node.iter().for_each(|node| out.extend(node.0));
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut rest = Rest(bytes);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let announcement = match rest.byte()? {
            0 => Announcement::Alive { ttl: Duration::from_millis(u32::from_be_bytes(rest.array()?).into()) },
            1 => Announcement::Gone,
            2 => Announcement::Hello { nodes: several(&mut rest, |rest| Ok(NodeId(rest.array()?)))? },
            3 => Announcement::Digest {
                counter: number(&mut rest)?,
                first: hash(&mut rest)?,
                last: hash(&mut rest)?,
                rooms: several(&mut rest, |rest| Ok((hash(rest)?, number(rest)?)))?,
            },
            4 => Announcement::Delta {
                base: number(&mut rest)?,
                version: number(&mut rest)?,
                users: several(&mut rest, told)?,
            },
            5 => Announcement::State {
                version: number(&mut rest)?,
                after: place(&mut rest)?,
                upto: place(&mut rest)?,
                users: several(&mut rest, told)?,
            },
            6 => Announcement::Query {
                node: match rest.byte()? {
                    0 => None,
                    _ => Some(NodeId(rest.array()?)),
                },
            },
            _ => return Err(Unreadable::Malformed),
        };
        if rest.0.is_empty() { Ok(announcement) } else { Err(Unreadable::Malformed) }
    }
}

fn push_users(out: &mut Vec<u8>, users: &[Told]) {
    out.extend(length(users.len()));
    for told in users {
        push_text(out, &told.user);
        out.extend(told.connections.to_be_bytes());
        out.extend(told.stamp.to_be_bytes());
        push_text(out, &told.data);
    }
}

fn push_place(out: &mut Vec<u8>, place: Option<&str>) {
    out.push(u8::from(place.is_some()));
    place.iter().for_each(|user| push_text(out, user));
}

fn number(rest: &mut Rest<'_>) -> Result<u64, Unreadable> {
    Ok(u64::from_be_bytes(rest.array()?))
}

fn hash(rest: &mut Rest<'_>) -> Result<u128, Unreadable> {
    Ok(u128::from_be_bytes(rest.array()?))
}

fn place(rest: &mut Rest<'_>) -> Result<Option<Arc<str>>, Unreadable> {
    Ok(match rest.byte()? {
        0 => None,
        _ => Some(rest.text()?.into()),
    })
}

fn told(rest: &mut Rest<'_>) -> Result<Told, Unreadable> {
    Ok(Told {
        user: rest.text()?.into(),
        connections: u32::from_be_bytes(rest.array()?),
        stamp: number(rest)?,
        data: rest.text()?.into(),
    })
}

/// A count and so many of something. Nothing is allocated for what is not there.
fn several<T>(
    rest: &mut Rest<'_>,
    mut one: impl FnMut(&mut Rest<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    let mut all = Vec::new();
    for _ in 0..u32::from_be_bytes(rest.array()?) {
        all.push(one(rest)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Arc<str>> {
        ".*".prop_map(Arc::from)
    }

    fn nodes() -> impl Strategy<Value = NodeId> {
        any::<[u8; 16]>().prop_map(NodeId)
    }

    fn users() -> impl Strategy<Value = Vec<Told>> {
        let one = (texts(), any::<u32>(), any::<u64>(), texts());
        prop::collection::vec(one, 0..4).prop_map(|users| {
            let told = |(user, connections, stamp, data)| Told { user, connections, stamp, data };
            users.into_iter().map(told).collect()
        })
    }

    fn words() -> impl Strategy<Value = Announcement> {
        prop_oneof![
            any::<u32>().prop_map(|ms| Announcement::Alive { ttl: Duration::from_millis(ms.into()) }),
            Just(Announcement::Gone),
            prop::collection::vec(nodes(), 0..4).prop_map(|nodes| Announcement::Hello { nodes }),
            any::<(u64, u128, u128, Vec<(u128, u64)>)>()
                .prop_map(|(counter, first, last, rooms)| Announcement::Digest { counter, first, last, rooms }),
            (any::<u64>(), any::<u64>(), users()).prop_map(|(base, version, users)| Announcement::Delta {
                base,
                version,
                users
            }),
            (any::<u64>(), prop::option::of(texts()), prop::option::of(texts()), users())
                .prop_map(|(version, after, upto, users)| Announcement::State { version, after, upto, users }),
            prop::option::of(nodes()).prop_map(|node| Announcement::Query { node }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(announcement in words()) {
            prop_assert_eq!(Announcement::decode(&announcement.encode()), Ok(announcement));
        }

        #[test]
        fn garbage_and_damage_are_refused_and_do_no_harm(
            bytes: Vec<u8>, announcement in words(), at: prop::sample::Index, byte: u8,
        ) {
            let _ = Announcement::decode(&bytes);
            let mut bytes = announcement.encode();
            prop_assert!(Announcement::decode(&bytes[..bytes.len() - 1]).is_err());
            *at.get_mut(&mut bytes) = byte;
            let _ = Announcement::decode(&bytes);
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let users = vec![Told { user: "ann".into(), connections: 2, stamp: 258, data: "7".into() }];
        let mut expected = vec![2, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1];
        expected.extend([0, 0, 0, 3, b'a', b'n', b'n', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, b'7']);
        assert_eq!(Announcement::Delta { base: 5, version: 6, users }.encode(), expected);
        assert_eq!(Announcement::Query { node: None }.encode(), [2, 6, 0]);
        assert_eq!(Announcement::decode(&[1, 1]), Err(Unreadable::Version(1)));
    }
}
