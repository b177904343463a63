//! What travels between nodes: `docs/broker-envelope.md` has it to the byte.

use bytes::Bytes;
use nexios_engine::{Message, MessageRef};

use crate::topic::Topic;

const VERSION: u8 = 1;

const NODE_AT: usize = 2;
const SEQUENCE_AT: usize = NODE_AT + 16;
const FLAGS_AT: usize = SEQUENCE_AT + 8;

const TEXT: u8 = 1;
const COMPRESS_SET: u8 = 2;
const COMPRESS: u8 = 4;
const BEGAN: u8 = 8;
const KEYED: u8 = 16;

/// A node for the time that it runs: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) [u8; 16]);

/// The purpose of an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// For everybody in the topic, without the clients named.
    Broadcast,
    /// For the clients named, as far as they are in the topic.
    ToClients,
    /// No message: says which sequence number comes next.
    Mark,
    /// What nodes say to each other about presence.
    Presence,
}

/// One envelope, borrowed from what arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    /// Its purpose.
    pub kind: Kind,
    /// The node that sent it.
    pub node: NodeId,
    /// Counts the envelopes of a node on a topic; a mark has the number of the next.
    pub sequence: u64,
    /// The number with which the node began to count, as long as that is news.
    pub began: Option<u64>,
    /// The audience.
    pub topic: Topic,
    /// The key under which a slow client gets only the newest message.
    pub key: Option<&'a str>,
    /// True or false where the sender decided about compression.
    pub compress: Option<bool>,
    /// Connection ids and client ids.
    pub clients: Vec<&'a str>,
    /// The message.
    pub message: MessageRef<'a>,
}

/// An envelope whose sequence number is not known yet.
pub(crate) struct Draft(Vec<u8>);

/// Reason why received bytes are not a valid envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Of a version that this node does not know.
    Version(u8),
    /// Not of this format at all.
    Malformed,
}

/// The options of a broadcast in addition to its message.
#[derive(Default)]
pub struct Options<'a> {
    /// The key under which a slow client gets only the newest message.
    pub key: Option<&'a str>,
    /// True or false where the sender decides about compression.
    pub compress: Option<bool>,
    /// Connection ids and client ids: those left out, or those addressed.
    pub clients: Vec<String>,
}

impl NodeId {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Only where the kernel has no random source at all; unique still matters.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        NodeId(bytes)
    }

    /// Whether an envelope comes from this node.
    pub(crate) fn sent(self, envelope: &[u8]) -> bool {
        envelope.get(NODE_AT..SEQUENCE_AT) == Some(&self.0[..])
    }
}

impl Draft {
    pub(crate) fn new(kind: Kind, node: NodeId, topic: &Topic, message: &Message, options: &Options<'_>) -> Self {
        let mut out = Vec::with_capacity(64 + topic.name().len() + message.len());
        out.extend([VERSION, kind as u8]);
        out.extend(node.0);
        out.extend(0_u64.to_be_bytes());
        let is_text = matches!(message, Message::Text(_));
        let compress = options.compress.map_or(0, |on| COMPRESS_SET | if on { COMPRESS } else { 0 });
        let keyed = options.key.map_or(0, |_| KEYED);
        out.push(if is_text { TEXT } else { 0 } | compress | keyed);
        out.push(match topic {
            Topic::App => 0,
            Topic::Router(_) => 1,
            Topic::Room(_) => 2,
            Topic::Presence(_) => 3,
            Topic::Nodes => 4,
        });
        push_text(&mut out, topic.name());
        if let Some(key) = options.key {
            push_text(&mut out, key);
        }
        out.extend(length(options.clients.len()));
        options.clients.iter().for_each(|client| push_text(&mut out, client));
        out.extend(message.as_bytes());
        Draft(out)
    }

    /// What a node sends when it has been silent on a topic for a while.
    pub(crate) fn mark(node: NodeId, topic: &Topic) -> Self {
        Draft::new(Kind::Mark, node, topic, &Message::from(&[][..]), &Options::default())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(mut self, sequence: u64, began: Option<u64>) -> Bytes {
        if let Some(place) = self.0.get_mut(SEQUENCE_AT..FLAGS_AT) {
            place.copy_from_slice(&sequence.to_be_bytes());
        }
        if let (Some(began), Some(flags)) = (began, self.0.get_mut(FLAGS_AT)) {
            *flags |= BEGAN;
            self.0.splice(FLAGS_AT + 1..FLAGS_AT + 1, began.to_be_bytes());
        }
        self.0.into()
    }
}

/// Lengths are 32 bits; a message is nowhere near as long.
pub(crate) fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(length(text.len()));
    out.extend(text.as_bytes());
}

impl<'a> Envelope<'a> {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut rest = Rest(bytes);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let kind = match rest.byte()? {
            0 => Kind::Broadcast,
            1 => Kind::ToClients,
            2 => Kind::Mark,
            3 => Kind::Presence,
            _ => return Err(Unreadable::Malformed),
        };
        let node = NodeId(rest.array()?);
        let sequence = u64::from_be_bytes(rest.array()?);
        let flags = rest.byte()?;
        let began = if flags & BEGAN == 0 { None } else { Some(u64::from_be_bytes(rest.array()?)) };
        let topic = match (rest.byte()?, rest.text()?) {
            (0, "") => Topic::App,
            (1, name) => Topic::Router(name.into()),
            (2, name) => Topic::Room(name.into()),
            (3, name) => Topic::Presence(name.into()),
            (4, "") => Topic::Nodes,
            _ => return Err(Unreadable::Malformed),
        };
        let key = if flags & KEYED == 0 { None } else { Some(rest.text()?) };
        let mut clients = Vec::new();
        for _ in 0..u32::from_be_bytes(rest.array()?) {
            clients.push(rest.text()?);
        }
        let message = match flags & TEXT {
            0 => MessageRef::Binary(rest.0),
            _ => MessageRef::Text(std::str::from_utf8(rest.0).map_err(|_| Unreadable::Malformed)?),
        };
        let compress = (flags & COMPRESS_SET != 0).then_some(flags & COMPRESS != 0);
        Ok(Envelope { kind, node, sequence, began, topic, key, compress, clients, message })
    }

    /// Whether these bytes, of an envelope, tell with which number counting began.
    pub(crate) fn tells_beginning(bytes: &[u8]) -> bool {
        bytes.get(FLAGS_AT).is_some_and(|flags| flags & BEGAN != 0)
    }

    /// The number that comes after it.
    pub(crate) fn next(&self) -> u64 {
        match self.kind {
            Kind::Mark => self.sequence,
            Kind::Broadcast | Kind::ToClients | Kind::Presence => self.sequence.saturating_add(1),
        }
    }
}

/// What is left to read.
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable::Malformed)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Unreadable> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let len = u32::from_be_bytes(self.array()?);
        let bytes = self.take(usize::try_from(len).map_err(|_| Unreadable::Malformed)?)?;
        std::str::from_utf8(bytes).map_err(|_| Unreadable::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topics() -> impl Strategy<Value = Topic> {
        prop_oneof![
            Just(Topic::App),
            ".*".prop_map(|name| Topic::Router(name.into())),
            ".*".prop_map(|name| Topic::Room(name.into())),
            ".*".prop_map(|name| Topic::Presence(name.into())),
            Just(Topic::Nodes),
        ]
    }

    fn messages() -> impl Strategy<Value = Message> {
        prop_oneof![".*".prop_map(Message::from), any::<Vec<u8>>().prop_map(Message::from)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            topic in topics(), message in messages(), key in any::<Option<String>>(), compress: Option<bool>,
            clients in any::<Vec<String>>(), sequence: u64, began: Option<u64>, to_clients: bool,
        ) {
            let node = NodeId::random();
            let kind = if to_clients { Kind::ToClients } else { Kind::Broadcast };
            let options = Options { key: key.as_deref(), compress, clients: clients.clone() };
            let bytes = Draft::new(kind, node, &topic, &message, &options).finish(sequence, began);
            prop_assert!(node.sent(&bytes) && !NodeId::random().sent(&bytes));
            prop_assert_eq!(Envelope::tells_beginning(&bytes), began.is_some());
            let clients = clients.iter().map(String::as_str).collect();
            let (key, message) = (key.as_deref(), message.as_ref());
            let expected = Envelope { kind, node, sequence, began, topic, key, compress, clients, message };
            prop_assert_eq!(Envelope::parse(&bytes), Ok(expected));
        }

        #[test]
        fn garbage_is_refused_and_does_no_harm(bytes: Vec<u8>) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn an_envelope_with_damage_does_no_harm(at: prop::sample::Index, byte: u8, len: prop::sample::Index) {
            let options = Options { key: Some("key"), compress: Some(true), clients: vec!["ann".into(), "bob".into()] };
            let topic = Topic::Room("lobby".into());
            let draft = Draft::new(Kind::Broadcast, NodeId::random(), &topic, &"hello".into(), &options);
            let mut bytes = draft.finish(7, Some(3)).to_vec();
            *at.get_mut(&mut bytes) = byte;
            let _ = Envelope::parse(&bytes);
            let _ = Envelope::parse(&bytes[..len.index(bytes.len())]);
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let topic = Topic::Room("ab".into());
        let options = Options { key: Some("k"), compress: Some(false), clients: vec!["c".into()] };
        let bytes = Draft::new(Kind::ToClients, NodeId([7; 16]), &topic, &"hi".into(), &options).finish(258, None);
        let mut expected = vec![1, 1];
        expected.extend([7; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([TEXT | COMPRESS_SET | KEYED, 2, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'k']);
        expected.extend([0, 0, 0, 1, 0, 0, 0, 1, b'c', b'h', b'i']);
        assert_eq!(bytes, expected);
        let bytes = Draft::mark(NodeId([7; 16]), &Topic::App).finish(258, Some(257));
        let mut expected = vec![1, 2];
        expected.extend([7; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, BEGAN, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_unknown_version_says_so() {
        let mut bytes = Draft::mark(NodeId::random(), &Topic::App).finish(0, None).to_vec();
        bytes[0] = 2;
        assert_eq!(Envelope::parse(&bytes), Err(Unreadable::Version(2)));
        assert_eq!(Envelope::parse(&[]), Err(Unreadable::Malformed));
    }

    #[test]
    fn a_count_of_clients_that_are_not_there_allocates_nothing() {
        let mut bytes = Draft::mark(NodeId::random(), &Topic::App).finish(0, None).to_vec();
        bytes.truncate(bytes.len() - 4);
        bytes.extend([0xff; 4]);
        assert_eq!(Envelope::parse(&bytes), Err(Unreadable::Malformed));
    }
}
