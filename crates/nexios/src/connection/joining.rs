//! Joining a room with history: first what was missed, then what comes, without a hole.

use std::sync::Arc;

use nexios_engine::{ConnectionState, Message, MessageRef, SendError};
use nexios_protocol::escaped;

use crate::audience::framing::Framing;
use crate::audience::shards::yield_now;
use crate::broker::{Attached, Entry, Envelope, Held, Node, Nonce, PAGE_LEN, Position, Since, Span};
use crate::connection::member::Member;
use crate::connection::membership::Wish;
use crate::connection::websocket::WebSocket;
use crate::live;
use crate::routing::handler::LocalFuture;

/// Where a connection was when it joined a room: [`WebSocket::join_from`].
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// use std::time::Duration;
/// use nexios::broker::History;
/// let room = ws.app().room("lobby").with_history(History::new(1000, Duration::from_secs(3600)));
/// ws.accept().await?;
/// let since = ws.query("since").and_then(|text| text.parse().ok());
/// if let Some(joined) = ws.join_from(room.name(), since).await {
///     let all = if joined.recovered { "all that you missed" } else { "start anew" };
///     ws.send_text(format!("{all}; you are at {}", joined.position)).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Joined {
    /// Whether all that was missed was sent. `false` where the broker does not have it, has begun
    /// anew, or is away.
    pub recovered: bool,
    /// Behind the last message that was sent; live messages follow. It says nothing (all zeros)
    /// where the broker is away, and of a room that does not remember.
    pub position: Position,
}

impl WebSocket {
    /// Enters a room at the place where the client has been before: it gets what it missed, each
    /// message once and in order, as fast as it reads, and then whatever comes. `None` where it is
    /// not connected.
    ///
    /// Without a position, and where what was missed cannot be had, it joins as by
    /// [`join`](Self::join), from now on. A connection that is in the room already gets nothing.
    pub async fn join_from(&self, room: impl AsRef<str>, since: Option<Position>) -> Option<Joined> {
        let room = room.as_ref();
        let wish = self.wish(room);
        match self.node_to_enter(room) {
            Some(node) => self.resume(&wish, node, room.into(), since.or_else(|| self.left_off(room))).await,
            None => self.join_without_history(&wish, room).await,
        }
    }

    async fn join_without_history(&self, wish: &Wish, room: &str) -> Option<Joined> {
        let here = Joined { recovered: false, position: Position::default() };
        self.join_by(wish, room).await.then_some(here)
    }

    /// Enters a room from its beginning: the client first gets all of the history of the room, each message once and in
    /// order, as fast as it reads, and then whatever comes. Otherwise as [`join_from`](Self::join_from).
    pub async fn join_from_start(&self, room: impl AsRef<str>) -> Option<Joined> {
        let room = room.as_ref();
        let wish = self.wish(room);
        self.join_from_start_by(&wish, room).await
    }

    /// Enters a room from its beginning unless the wish is withdrawn meanwhile.
    pub(crate) async fn join_from_start_by(&self, wish: &Wish, room: &str) -> Option<Joined> {
        match self.node_to_enter(room) {
            Some(node) => Box::pin(self.way(wish, node, room.into(), None, true).walk()).await,
            None => self.join_without_history(wish, room).await,
        }
    }

    /// With a broker: resolves once what other nodes send to the room arrives, or after a second.
    /// Only then is a client let in, so that nothing is missing between two messages that it gets.
    /// Boxed: a handler that waits in another place does not hold the room for it.
    pub(crate) fn arrive(&self, room: &str) -> Option<LocalFuture<Held>> {
        let (held, entering) = self.route().switchboard.node()?.hold(&room.into());
        Some(Box::pin(async move {
            if let Some(entering) = entering {
                entering.done().await;
            }
            held
        }))
    }

    /// Where the room's messages come from, if it remembers.
    pub(crate) fn node_with_history(&self, room: &str) -> Option<Arc<Node>> {
        let switchboard = &self.route().switchboard;
        switchboard.history(room).and_then(|_| switchboard.history_node())
    }

    /// The same, unless there is nothing to get there, which [`join`](Self::join) says.
    fn node_to_enter(&self, room: &str) -> Option<Arc<Node>> {
        let may_enter = !self.is_in_room(room) && (!live::is_live(self.connection()) || live::is_nameable(room));
        self.node_with_history(room).filter(|_| may_enter)
    }

    /// Brings the connection to where the node is, and into the room. Boxed: a handler that waits
    /// in another place does not hold the room for it.
    pub(crate) fn resume(
        &self,
        wish: &Wish,
        node: Arc<Node>,
        room: Arc<str>,
        since: Option<Position>,
    ) -> LocalFuture<Option<Joined>> {
        Box::pin(self.way(wish, node, room, since, false).walk())
    }

    fn way(&self, wish: &Wish, node: Arc<Node>, room: Arc<str>, since: Option<Position>, from_start: bool) -> Way {
        let (shard, framing) = (self.connection().shard().handle(), Framing::of(self.connection()));
        let member = Member { shard, id: self.id(), framing, greeted: false, wish: wish.clone() };
        Way { ws: self.clone(), node, room, member, since: since.map(Since::said), from_start }
    }

    /// Sends what is missing and enters the room, in one step; what does not fit is handed back.
    pub(crate) fn enter_behind(
        &self,
        room: &Arc<str>,
        missed: Vec<Entry>,
        since: Option<Position>,
        position: Option<Position>,
        member: &Member,
    ) -> Attached {
        if self.connection_state() != ConnectionState::Connected {
            return Attached::Gone;
        }
        if self.is_in_room(room) {
            return Attached::Joined(position);
        }
        if member.wish.is_withdrawn() {
            return Attached::Gone;
        }
        if let Some(greeting) = member.greeting(room, since, position.unwrap_or_default()) {
            match member.framing.send(self.connection(), greeting.as_ref(), None) {
                Ok(()) => {}
                Err(SendError::OutboxFull) => return Attached::Behind { entries: missed, greeted: member.greeted },
                Err(_) => return Attached::Gone,
            }
        }
        let mut missed = missed.into_iter();
        while let Some(entry) = missed.next() {
            let Some((message, compress)) = self.framed(room, &entry, member.framing) else { continue };
            match member.framing.send(self.connection(), message.as_ref(), compress) {
                Ok(()) => {}
                Err(SendError::OutboxFull) => {
                    return Attached::Behind { entries: [entry].into_iter().chain(missed).collect(), greeted: true };
                }
                Err(_) => return Attached::Gone,
            }
        }
        match self.enter_room(room) {
            true => Attached::Joined(position),
            false => Attached::Gone,
        }
    }

    /// An entry as this connection gets it, if it is one of those that do.
    fn framed(&self, room: &str, entry: &Entry, framing: Framing) -> Option<(Message, Option<bool>)> {
        // What cannot be read was counted when it came.
        let envelope = Envelope::parse(&entry.envelope).ok()?;
        let names_this = |client: &&str| {
            client.parse() == Ok(self.id()) || self.client_id().is_some_and(|client_id| *client_id == **client)
        };
        let is_excluded = envelope.clients.iter().any(names_this);
        (!is_excluded).then(|| (framing.message(room, entry, &envelope), envelope.compress))
    }
}

/// The way of one connection into a room.
struct Way {
    ws: WebSocket,
    node: Arc<Node>,
    room: Arc<str>,
    member: Member,
    since: Option<Since>,
    /// All of the room's history comes first.
    from_start: bool,
}

impl Way {
    async fn walk(mut self) -> Option<Joined> {
        let joined = self.go().await;
        // It has been told that it is in the room, and is not.
        if joined.is_none() && self.member.greeted && self.member.wish.is_withdrawn() {
            live::left(&self.ws, &self.room);
        }
        joined
    }

    async fn go(&mut self) -> Option<Joined> {
        let (_held, entering) = self.node.hold(&self.room);
        let _expected = self.ws.route().switchboard.expect(&self.room, self.member.framing == Framing::Live);
        if let Some(entering) = entering {
            entering.done().await;
        }
        if self.from_start {
            self.read_oldest().await?;
        }
        loop {
            match self.node.attach(&self.room, self.since, self.member.greeted, self.member.admit(&self.room)).await {
                Some(Attached::Joined(position)) => {
                    let recovered = self.since.is_some() && position.is_some();
                    return Some(Joined { recovered, position: position.unwrap_or_default() });
                }
                Some(Attached::Behind { entries, greeted }) => {
                    self.member.greeted = greeted;
                    self.send(&entries).await?;
                }
                Some(Attached::Unknown) => self.read().await?,
                Some(Attached::Gone) => return None,
                None if self.node.has_ended() => return None,
                // Its shard has too much to do.
                None => yield_now().await,
            }
        }
    }

    /// Takes the first step of one who wants all of the history of the room.
    async fn read_oldest(&mut self) -> Option<()> {
        let log = self.node.log(&self.room, self.ws.route().switchboard.history(&self.room).unwrap_or_default());
        match self.node.read(&log, Span::Oldest(PAGE_LEN)).await {
            Ok(page) => {
                self.node.count_read(page.entries.len());
                let before =
                    |first: &Entry| Position { offset: first.previous, nonce: Nonce::default(), ..first.position() };
                self.since = Some(Since::trusted(page.entries.first().map_or(page.top, before)));
                self.send(&page.entries).await
            }
            Err(error) => {
                tracing::warn!(error = %escaped(&error), room = %escaped(&self.room), "a client begins at a room's start, which cannot be read");
                Some(())
            }
        }
    }

    /// Takes a step by what the broker has.
    async fn read(&mut self) -> Option<()> {
        let Some(since) = self.since else { return Some(()) };
        let log = self.node.log(&self.room, self.ws.route().switchboard.history(&self.room).unwrap_or_default());
        match self.node.read(&log, Span::After(since.position, PAGE_LEN)).await {
            Ok(page) if page.recovered => {
                self.node.count_read(page.entries.len());
                let trusted = Since { trusted: true, ..since };
                self.since = Some(if page.entries.is_empty() { trusted.quiet_up_to(page.top) } else { trusted });
                self.send(&page.entries).await
            }
            Ok(_) => {
                self.since = None;
                Some(())
            }
            Err(error) => {
                tracing::warn!(error = %escaped(&error), room = %escaped(&self.room), "a client comes back, and what it missed cannot be read");
                self.since = None;
                Some(())
            }
        }
    }

    /// Sends entries as fast as the client reads them.
    async fn send(&mut self, entries: &[Entry]) -> Option<()> {
        live::ready(&self.ws).await;
        if !self.member.greeted && !entries.is_empty() {
            let since = self.since.map(|since| since.position);
            if let Some(greeting) = self.member.greeting(&self.room, since, Position::default()) {
                self.send_one(greeting.as_ref(), None).await?;
            }
            self.member.greeted = true;
        }
        for entry in entries {
            if let Some((message, compress)) = self.ws.framed(&self.room, entry, self.member.framing) {
                self.send_one(message.as_ref(), compress).await?;
            }
            self.since = Some(Since::trusted(entry.position()));
        }
        Some(())
    }

    /// Sends a message once there is room.
    async fn send_one(&self, message: MessageRef<'_>, compress: Option<bool>) -> Option<()> {
        live::ready(&self.ws).await;
        if self.member.wish.is_withdrawn() {
            return None;
        }
        self.member.framing.send(self.ws.connection(), message, compress).ok()
    }
}
