//! Topics: what nodes subscribe to, and the channels of a broker that carry them.

use std::fmt::{self, Write};
use std::sync::Arc;

use sha1::{Digest, Sha1};

/// The longest channel name after the namespace; every broker takes it.
const CHANNEL_BYTES_MAX: usize = 200;

/// An audience as all nodes know it.
///
/// ```
/// use nexios::broker::Topic;
/// assert_eq!(Topic::Room("lobby".into()).to_string(), "room \"lobby\"");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Topic {
    /// All clients of the app.
    App,
    /// The clients of a router and of those below it: by its name, else its full prefix.
    Router(Arc<str>),
    /// The members of a room.
    Room(Arc<str>),
    /// Who is in a room: what nodes say to each other about it.
    Presence(Arc<str>),
    /// All nodes, about themselves.
    Nodes,
}

impl Topic {
    /// The name of the router or room; empty for the app and for all nodes.
    pub fn name(&self) -> &str {
        match self {
            Topic::App | Topic::Nodes => "",
            Topic::Router(name) | Topic::Room(name) | Topic::Presence(name) => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Topic::App => "app",
            Topic::Router(_) => "router",
            Topic::Room(_) => "room",
            Topic::Presence(_) => "presence",
            Topic::Nodes => "nodes",
        }
    }

    /// Whether it belongs to one room, and ends with it.
    pub(crate) fn is_of_room(&self) -> bool {
        matches!(self, Topic::Room(_) | Topic::Presence(_))
    }

    /// Whether it carries what nodes say to each other about presence. They see for themselves
    /// what they have missed.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(self, Topic::Presence(_) | Topic::Nodes)
    }

    /// The channel that carries it. A name may hold anything and comes out as letters, digits,
    /// `-`, `_` and `%`, which no broker reads as a pattern, a separator or a hash tag; one that
    /// is too long becomes its beginning and its digest.
    pub(crate) fn channel(&self, namespace: &str) -> Arc<str> {
        let mut channel = String::with_capacity(namespace.len() + self.name().len() + 16);
        escape(namespace, &mut channel);
        channel.push('-');
        channel.push_str(self.kind());
        channel.push('-');
        let start = channel.len();
        escape(self.name(), &mut channel);
        if channel.len() - start > CHANNEL_BYTES_MAX {
            channel.truncate(start + CHANNEL_BYTES_MAX - 42);
            channel.push_str("%-");
            for byte in Sha1::digest(self.name()) {
                push_hex(byte, &mut channel);
            }
        }
        channel.into()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::App => f.write_str("the app"),
            Topic::Router(name) => write!(f, "router {name:?}"),
            Topic::Room(name) => write!(f, "room {name:?}"),
            Topic::Presence(name) => write!(f, "presence in room {name:?}"),
            Topic::Nodes => f.write_str("the nodes"),
        }
    }
}

/// Letters, digits and `_` stay, all else is `%xx`.
pub(crate) fn escape(name: &str, out: &mut String) {
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                push_hex(byte, out);
            }
        }
    }
}

fn push_hex(byte: u8, out: &mut String) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{byte:02x}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_say_anything_to_a_broker() {
        for (topic, channel) in [
            (Topic::App, "nexios-app-"),
            (Topic::Router("/chat".into()), "nexios-router-%2fchat"),
            (Topic::Room("a.b.*.>".into()), "nexios-room-a%2eb%2e%2a%2e%3e"),
            (Topic::Room("{x} y\r\n".into()), "nexios-room-%7bx%7d%20y%0d%0a"),
            (Topic::Room("a-b%".into()), "nexios-room-a%2db%25"),
            (Topic::Presence("x".into()), "nexios-presence-x"),
            (Topic::Nodes, "nexios-nodes-"),
        ] {
            assert_eq!(&*topic.channel("nexios"), channel);
        }
    }

    #[test]
    fn namespaces_and_kinds_do_not_meet() {
        let channels = [
            Topic::Room("x".into()).channel("a"),
            Topic::Router("x".into()).channel("a"),
            Topic::Room("x".into()).channel("b"),
            Topic::Room("room-x".into()).channel("a"),
            Topic::Presence("x".into()).channel("a"),
            Topic::Room("x".into()).channel("a-room"),
        ];
        for (at, channel) in channels.iter().enumerate() {
            assert!(!channels[..at].contains(channel), "{channel}");
        }
    }

    #[test]
    fn a_long_name_stays_a_name_of_its_own() {
        let long = |end: char| Topic::Room(format!("{}{end}", "x".repeat(100_000)).into()).channel("nexios");
        assert!(long('a').len() <= "nexios-room-".len() + CHANNEL_BYTES_MAX);
        assert_ne!(long('a'), long('b'));
    }

    proptest! {
        #[test]
        fn every_name_has_a_channel_of_its_own(a in ".*", b in ".*") {
            let channel = |name: &str| Topic::Room(name.into()).channel("n");
            prop_assert_eq!(a == b, channel(&a) == channel(&b));
            prop_assert!(channel(&a).bytes().all(|b| b.is_ascii_alphanumeric() || b"-_%".contains(&b)));
        }
    }
}
